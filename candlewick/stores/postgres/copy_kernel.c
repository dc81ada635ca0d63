/* Rows of the store as rows of COPY BINARY: the fast way beside rows.py.

   A double becomes the numeric of its shortest decimal text, the one that Python's repr writes. Where this is not sure
   of that text it stops before the row, and rows.py makes the row; where both make one they give the same bytes, or
   this file is wrong. It is C99 without Python.h, called through ctypes (copy_kernel.py), little-endian. */

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__) || !defined(__SIZEOF_INT128__) || FLT_EVAL_METHOD != 0
#error "needs 128-bit integers, and doubles that are multiplied and divided as such"
#endif
#define INLINE static inline __attribute__((always_inline))

enum { INTERFACE = 2 };
enum { NUMERICS = 8, GROUP = 10000, HEAD = 8, MOST_NUMERIC = 4 + HEAD + 2 * 16 };
enum { MANTISSA_BITS = 52, EXPONENT_MASK = 0x7FF, BIAS = 1075, DIGITS = 17 };
#define EPOCH_2000 ((int64_t)946684800000000)
#define NEGATIVE 0x4000

typedef unsigned __int128 Wide;

/* `stores.store.ROW`. */
typedef struct __attribute__((packed)) {
    uint32_t series;
    uint8_t source;
    int64_t open_time;
    double open, high, low, close, volume;
    int64_t close_time;
    double quote_volume;
    int64_t trades;
    double taker_buy_volume, taker_buy_quote_volume;
} Row;

static const uint64_t TENS[DIGITS + 1] = {1u,
                                          10u,
                                          100u,
                                          1000u,
                                          10000u,
                                          100000u,
                                          1000000u,
                                          10000000u,
                                          100000000u,
                                          1000000000u,
                                          10000000000u,
                                          100000000000u,
                                          1000000000000u,
                                          10000000000000u,
                                          100000000000000u,
                                          1000000000000000u,
                                          10000000000000000u,
                                          100000000000000000u};

int32_t candlewick_copy_interface(void) { return INTERFACE; }

INLINE uint8_t *put_16(uint8_t *to, uint16_t value) {
    value = __builtin_bswap16(value);
    memcpy(to, &value, 2);
    return to + 2;
}

INLINE uint8_t *put_32(uint8_t *to, uint32_t value) {
    value = __builtin_bswap32(value);
    memcpy(to, &value, 4);
    return to + 4;
}

INLINE uint8_t *put_64(uint8_t *to, uint64_t value) {
    to = put_32(to, 8);
    value = __builtin_bswap64(value);
    memcpy(to, &value, 8);
    return to + 8;
}

/* number / 10**places: groups of four digits around the point, none of them zero at either end. */
INLINE uint8_t *put_numeric(uint8_t *to, uint64_t number, int places, int negative) {
    uint16_t groups[8];
    int count = 0, first = 0, lowest = -((places + 3) / 4), pad = -4 * lowest - places;
    if (number && pad) {
        uint64_t rest = number / TENS[4 - pad];
        groups[count++] = (uint16_t)((number - rest * TENS[4 - pad]) * TENS[pad]);
        number = rest;
    }
    for (; number; number /= GROUP) groups[count++] = (uint16_t)(number % GROUP);
    while (first < count && !groups[first]) first++;
    int kept = count - first;
    places = kept && lowest + first < 0 ? -4 * (lowest + first) : 0;
    if (places)
        for (unsigned group = groups[first]; group % 10 == 0; group /= 10) places--;
    to = put_32(to, (uint32_t)(HEAD + 2 * kept));
    to = put_16(to, (uint16_t)kept);
    to = put_16(to, (uint16_t)(kept ? lowest + count - 1 : 0));
    to = put_16(to, kept && negative ? NEGATIVE : 0);
    to = put_16(to, (uint16_t)places);
    while (count > first) to = put_16(to, groups[--count]);
    return to;
}

/* The shortest decimal of 16 or 17 digits that only this double is nearest to; 0 where that is not plain to see.

   mantissa * 2**-shift is the double; all is counted in units of 10**-places * 2**-(shift + 1), so that the borders to
   the neighbours are whole. */
static int shortest(uint64_t mantissa, int shift, uint64_t *number, int *places) {
    if (shift < 1 || shift > 50) return 0;
    uint64_t whole = mantissa >> shift;
    int digits = 0;
    while (digits < DIGITS && whole >= TENS[digits]) digits++;
    if (!digits || digits >= DIGITS) return 0;
    *places = DIGITS - digits;
    Wide scale = TENS[*places], value = 2 * scale * mantissa, low = value - scale, high = value + scale;
    int even = !(mantissa & 1);
    for (uint64_t unit = 100; unit; unit /= 10) {
        uint64_t below = (uint64_t)(value >> (shift + 1)) / unit * unit;
        Wide down = value - ((Wide)below << (shift + 1)), up = ((Wide)(below + unit) << (shift + 1)) - value;
        if (down == up) return 0;
        uint64_t near = down < up ? below : below + unit;
        Wide there = (Wide)near << (shift + 1);
        if (there > low && there < high) return *number = near, 1;
        if (even && (there == low || there == high)) return 0;
    }
    return 0;
}

/* A decimal of at most 15 digits is the shortest text of the double that is nearest to it. */
INLINE uint8_t *put_double(uint8_t *to, double value) {
    static const struct {
        double below, scale;
        int places;
    } steps[] = {{1e7, 1e8, 8}, {1e11, 1e4, 4}, {1e15, 1, 0}};
    double size = fabs(value);
    int negative = signbit(value) != 0;
    for (int step = 0; step < 3; step++)
        if (size < steps[step].below) {
            double number = rint(size * steps[step].scale);
            if (number / steps[step].scale == size) return put_numeric(to, (uint64_t)number, steps[step].places, negative);
            break;
        }
    uint64_t bits, number;
    memcpy(&bits, &size, 8);
    int exponent = (int)(bits >> MANTISSA_BITS), places;
    uint64_t fraction = bits & (((uint64_t)1 << MANTISSA_BITS) - 1);
    if (!fraction || !exponent || exponent == EXPONENT_MASK) return NULL; /* neighbours are not as far on both sides */
    if (!shortest(fraction | (uint64_t)1 << MANTISSA_BITS, BIAS - exponent, &number, &places)) return NULL;
    return put_numeric(to, number, places, negative);
}

/* Writes rows until one is not plain or `room` does not suffice for another one. Row n comes after bytes
   starts[which[n]] to starts[which[n] + 1] of `prefixes`, none of which is longer than `longest`. Returns how many rows
   it wrote; `written` is the number of bytes. */
int64_t candlewick_copy_rows(const Row *rows, int64_t count, const uint8_t *prefixes, const int64_t *starts,
                             const int64_t *which, int64_t longest, uint8_t *to, int64_t room, int64_t *written) {
    uint8_t *at = to, *last = to + room - (longest + NUMERICS * MOST_NUMERIC + 3 * 12 + 6);
    int64_t done = 0;
    for (; done < count && at <= last; done++) {
        const Row *row = rows + done;
        double values[NUMERICS] = {row->open,   row->high,         row->low,              row->close,
                                   row->volume, row->quote_volume, row->taker_buy_volume, row->taker_buy_quote_volume};
        int64_t start = starts[which[done]], size = starts[which[done] + 1] - start;
        uint8_t *next = at;
        memcpy(next, prefixes + start, (size_t)size);
        next = put_64(next + size, (uint64_t)(row->open_time - EPOCH_2000));
        for (int each = 0; each < NUMERICS && next; each++) next = put_double(next, values[each]);
        if (!next) break;
        next = put_64(next, (uint64_t)row->trades);
        next = put_64(next, (uint64_t)(row->close_time - EPOCH_2000));
        next = put_32(next, 2);
        at = put_16(next, row->source);
    }
    *written = at - to;
    return done;
}
