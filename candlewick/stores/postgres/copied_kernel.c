/* Rows out of COPY BINARY, as columns: the fast way beside copied.py.

   A numeric becomes the double that is nearest to it: by one exact division or multiplication where both of its parts
   are exact doubles, else by strtod, which rounds correctly. It is C99 without Python.h, called through ctypes
   (copied_kernel.py), little-endian. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__GNUC__) || FLT_EVAL_METHOD != 0
#error "needs doubles that are multiplied and divided as such"
#endif

enum { INTERFACE = 1 };
enum { SOURCE = 1, TIME = 2, COUNT = 3, NUMBER = 4 }; /* kinds of fields, as in copied_kernel.py */
enum { HEAD = 8, FAST_GROUPS = 4, EXACT_TENS = 22 };
enum { MOST_GROUPS = 200, TEXT = 4 * MOST_GROUPS + 32 }; /* 800 digits decide every double, with one more for the rest */
#define EPOCH_2000 ((int64_t)946684800000000)
#define EXACT ((uint64_t)1 << 53)
#define NEGATIVE 0x4000
#define NOT_A_NUMBER 0xC000
#define INFINITE 0xD000
#define NEGATIVE_INFINITE 0xF000

static const double TENS[EXACT_TENS + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                            1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

int32_t candlewick_copied_interface(void) { return INTERFACE; }

static inline int16_t get_16(const uint8_t *from) {
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return (int16_t)__builtin_bswap16(value);
}

static inline int32_t get_32(const uint8_t *from) {
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return (int32_t)__builtin_bswap32(value);
}

static inline int64_t get_64(const uint8_t *from) {
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return (int64_t)__builtin_bswap64(value);
}

/* Groups of four digits as text without a point, which in some languages is a comma. */
static double by_text(const uint8_t *groups, int count, int exponent) {
    char text[TEXT], *to = text;
    int taken = count < MOST_GROUPS ? count : MOST_GROUPS;
    for (int at = 0; at < taken; at++) {
        int group = get_16(groups + 2 * at);
        *to++ = (char)('0' + group / 1000);
        *to++ = (char)('0' + group / 100 % 10);
        *to++ = (char)('0' + group / 10 % 10);
        *to++ = (char)('0' + group % 10);
    }
    exponent += 4 * (count - taken);
    if (taken < count) { /* PostgreSQL sends no zeros at the end: something follows */
        *to++ = '1';
        exponent--;
    }
    *to++ = 'e';
    *to++ = exponent < 0 ? '-' : '+';
    uint32_t size = (uint32_t)(exponent < 0 ? -exponent : exponent);
    char digits[12];
    int length = 0;
    do digits[length++] = (char)('0' + size % 10);
    while (size /= 10);
    while (length) *to++ = digits[--length];
    *to = 0;
    return strtod(text, NULL);
}

/* A numeric of `size` bytes; whether it is one. */
static int number(const uint8_t *field, int32_t size, double *value) {
    if (size < HEAD) return 0;
    int count = get_16(field), weight = get_16(field + 2);
    uint16_t sign = (uint16_t)get_16(field + 4);
    if (count < 0 || size != HEAD + 2 * count) return 0;
    if (sign == NOT_A_NUMBER || sign == INFINITE || sign == NEGATIVE_INFINITE) {
        *value = sign == NOT_A_NUMBER ? (double)NAN : sign == INFINITE ? HUGE_VAL : -HUGE_VAL;
        return 1;
    }
    const uint8_t *groups = field + HEAD;
    int exponent = 4 * (weight - count + 1);
    double found = 0.0;
    uint64_t whole = 0;
    for (int at = 0; at < count && at < FAST_GROUPS; at++) whole = whole * 10000 + (uint64_t)get_16(groups + 2 * at);
    if (count && count <= FAST_GROUPS && whole <= EXACT && exponent >= -EXACT_TENS && exponent <= EXACT_TENS)
        found = exponent < 0 ? (double)whole / TENS[-exponent] : (double)whole * TENS[exponent];
    else if (count)
        found = by_text(groups, count, exponent);
    *value = sign == NEGATIVE ? -found : found;
    return 1;
}

/* One field into row `row` of its column; whether it is of its kind. */
static int take(int kind, const uint8_t *field, int32_t size, void *column, int64_t row) {
    switch (kind) {
    case SOURCE:
        ((uint8_t *)column)[row] = size == 2 ? (uint8_t)get_16(field) : 0;
        return size == 2;
    case TIME:
        ((int64_t *)column)[row] = size == 8 ? get_64(field) + EPOCH_2000 : 0;
        return size == 8;
    case COUNT:
        ((int64_t *)column)[row] = size == 8 ? get_64(field) : 0;
        return size == 8 || size == -1;
    default:
        ((double *)column)[row] = (double)NAN;
        return size == -1 || number(field, size, (double *)column + row);
    }
}

/* The whole rows in `data`, each field into its column; how many, or -1 where they are of another form. `used` is how
   many bytes they took. What follows, part of a row or the end of the stream, is left. */
int64_t candlewick_copied_rows(const uint8_t *data, int64_t size, int32_t fields, const uint8_t *kinds,
                               void *const *columns, int64_t *used) {
    int64_t row = 0, at = 0;
    for (;; row++) {
        int64_t next = at + 2;
        *used = at;
        if (next > size || get_16(data + at) == -1) return row;
        if (get_16(data + at) != fields) return -1;
        for (int field = 0; field < fields; field++) {
            if (next + 4 > size) return row;
            int32_t length = get_32(data + next);
            next += 4;
            if (length < -1) return -1;
            if (length > size - next) return row;
            if (!take(kinds[field], data + next, length, columns[field], row)) return -1;
            next += length > 0 ? length : 0;
        }
        at = next;
    }
}
