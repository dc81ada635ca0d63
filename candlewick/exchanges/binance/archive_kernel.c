/* The CSV of an archive file into columns, as far as it is plain: the fast way beside polars (archive_files.py).

   Plain is what the archive publishes: digits with at most one point between them, a minus before whole numbers only,
   true and false, commas, \n or \r\n, and nothing else. Whatever else a file holds, true or broken, makes this give up,
   and polars reads it or it is refused in words there; where both read a file they give the same bits, or this file is
   wrong. It is C99 without Python.h, called through ctypes (archive_kernel.py), little-endian, and never reads outside
   the text. */

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if !defined(__GNUC__) || !defined(__SIZEOF_INT128__) || FLT_EVAL_METHOD != 0
#error "needs 128-bit integers, and doubles that are divided as such"
#endif
#define INLINE static inline __attribute__((always_inline))

enum { INTERFACE = 1 };
enum { INT, DECIMAL, FLAG, TEXT };
enum { GAVE_UP = -1 };
enum { INT_DIGITS = 18, WORD_DIGITS = 19, WIDE_DIGITS = 38, MOST_PLACES = 19 };
enum { PART = 1 << 14, STEP = 64, BEFORE = 24 };
#define EACH_BYTE 0x0101010101010101u
#define EXACT ((uint64_t)1 << 53)

typedef unsigned __int128 Wide;

static const uint64_t TENS[MOST_PLACES + 1] = {1u,
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
                                               100000000000000000u,
                                               1000000000000000000u,
                                               10000000000000000000u};

static const double POWERS[MOST_PLACES + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,
                                               1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19};

/* A column in the order of the text; `to` is the address of its array, 0 if it is not wanted. */
typedef struct {
    uint64_t kind, to;
} Column;

int32_t candlewick_archive_interface(void) { return INTERFACE; }

/* Bits of those of 64 bytes that are no digits. */
INLINE uint64_t marks_of(const uint8_t *at) {
    uint64_t digits = 0;
#if defined(__SSE2__)
    for (int part = 0; part < 4; part++) {
        __m128i bytes = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)(at + 16 * part)), _mm_set1_epi8('0'));
        __m128i same = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(9)), bytes);
        digits |= (uint64_t)(uint32_t)_mm_movemask_epi8(same) << 16 * part;
    }
#else
    for (int place = 0; place < STEP; place++) digits |= (uint64_t)((uint8_t)(at[place] - '0') <= 9) << place;
#endif
    return ~digits;
}

/* Writes where the bytes that are no digits are; returns how many they are. Writes up to `size` of them. */
static size_t find_marks(const uint8_t *text, size_t size, uint16_t *marks) {
    size_t count = 0, at = 0;
    for (; at + STEP <= size; at += STEP)
        for (uint64_t found = marks_of(text + at); found; found &= found - 1)
            marks[count++] = (uint16_t)(at + (size_t)__builtin_ctzll(found));
    for (; at < size; at++)
        if ((uint8_t)(text[at] - '0') > 9) marks[count++] = (uint16_t)at;
    return count;
}

/* How many lines end in a text. */
int64_t candlewick_archive_lines(const uint8_t *text, int64_t size) {
    int64_t lines = 0, at = 0;
    while (size - at >= STEP) {
        uint8_t sums[STEP] = {0}; /* that count up to 255 */
        int64_t stop = size - at < 255 * STEP ? size - (size - at) % STEP : at + 255 * STEP;
        for (; at < stop; at += STEP)
            for (int place = 0; place < STEP; place++) sums[place] = (uint8_t)(sums[place] + (text[at + place] == '\n'));
        for (int place = 0; place < STEP; place++) lines += sums[place];
    }
    for (; at < size; at++) lines += text[at] == '\n';
    return lines;
}

/* The number that the last one to eight digits before `stop` are; eight bytes are read. */
INLINE uint64_t last_digits(const uint8_t *stop, size_t count) {
    static const uint64_t digits[9] = {
        0x0000000000000000u, 0x0F00000000000000u, 0x0F0F000000000000u, 0x0F0F0F0000000000u, 0x0F0F0F0F00000000u,
        0x0F0F0F0F0F000000u, 0x0F0F0F0F0F0F0000u, 0x0F0F0F0F0F0F0F00u, 0x0F0F0F0F0F0F0F0Fu,
    };
    uint64_t word;
    memcpy(&word, stop - 8, 8);
    word = ((word & digits[count]) * (10 * 256 + 1)) >> 8;
    word = ((word & 0x00FF00FF00FF00FFu) * (100 * 65536 + 1)) >> 16;
    return ((word & 0x0000FFFF0000FFFFu) * (10000 * ((uint64_t)1 << 32) + 1)) >> 32;
}

/* The number that up to nineteen digits before `stop` are. */
INLINE uint64_t number_of(const uint8_t *stop, size_t count) {
    if (count <= 8) return last_digits(stop, count);
    uint64_t number = last_digits(stop, 8);
    if (count <= 16) return number + TENS[8] * last_digits(stop - 8, count - 8);
    number += TENS[8] * last_digits(stop - 8, 8);
    return number + TENS[16] * last_digits(stop - 16, count - 16);
}

/* The double that is nearest to number / 10**places, the even one of two that are as near. */
static double nearest(Wide number, int places) {
    if (!number) return 0;
    uint64_t high = (uint64_t)(number >> 64);
    int shift = high ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t)number);
    number <<= shift; /* from 2**127 on, so that the quotient by less than 2**64 has 64 bits or one less */
    Wide quotient = number / TENS[places];
    uint64_t rest = (uint64_t)(number % TENS[places]);
    high = (uint64_t)(quotient >> 64);
    int drop = (high ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)quotient)) - 53;
    uint64_t kept = (uint64_t)(quotient >> drop);
    Wide half = (Wide)1 << (drop - 1), dropped = quotient & (2 * half - 1);
    kept += dropped > half || (dropped == half && (rest || (kept & 1)));
    return ldexp((double)kept, drop - shift);
}

/* The same for more digits than a word holds, the point among them. */
static double nearest_of(const uint8_t *at, const uint8_t *end, int places) {
    Wide number = 0;
    for (; at < end; at++)
        if (*at != '.') number = 10 * number + (uint8_t)(*at - '0');
    return nearest(number, places);
}

/* Where reading is. Every byte that is no digit has a mark; the last one ends the last line. */
typedef struct {
    const uint8_t *part;  /* what the marks are counted from; there are BEFORE bytes before it */
    const uint8_t *at;    /* where the value begins */
    const uint16_t *next; /* mark from there on */
} Place;

INLINE int read_int(Place *place, int64_t *value) {
    const uint8_t *stop = place->part + *place->next;
    int negative = stop == place->at && *stop == '-';
    if (negative) {
        place->at++;
        stop = place->part + *++place->next;
    }
    size_t count = (size_t)(stop - place->at);
    if (!count || count > INT_DIGITS) return 0;
    int64_t number = (int64_t)number_of(stop, count);
    *value = negative ? -number : number;
    place->at = stop;
    return 1;
}

INLINE int read_decimal(Place *place, double *value) {
    const uint8_t *start = place->at, *stop = place->part + *place->next;
    size_t whole = (size_t)(stop - start), places = 0;
    if (!whole) return 0;
    const uint8_t *point = stop;
    if (*point == '.') {
        stop = place->part + *++place->next;
        places = (size_t)(stop - point) - 1;
        if (!places) return 0;
    }
    place->at = stop;
    if (whole + places <= WORD_DIGITS) {
        uint64_t number = number_of(point, whole);
        if (places) number = number * TENS[places] + number_of(stop, places);
        /* Up to 2**53 both are exact, so the quotient is the nearest double. */
        *value = number <= EXACT ? (double)number / POWERS[places] : nearest(number, (int)places);
        return 1;
    }
    if (whole + places > WIDE_DIGITS || places > MOST_PLACES) return 0;
    *value = nearest_of(start, stop, (int)places);
    return 1;
}

/* A letter has a mark, so that of the n-th one on tells that as many letters are there. */
INLINE int read_flag(Place *place, uint8_t *value) {
    static const char *const names[2] = {"false", "true"};
    for (int flag = 0; flag < 2; flag++) {
        ptrdiff_t count = 0;
        while (names[flag][count] && (place->at[count] | 0x20) == names[flag][count]) count++;
        if (names[flag][count]) continue;
        *value = (uint8_t)flag;
        place->at += count;
        place->next += count;
        return 1;
    }
    return 0;
}

INLINE int read_text(Place *place) {
    const uint8_t *start = place->at, *stop = start;
    while (*stop > ' ' && *stop < 0x7F && *stop != ',' && *stop != '"') stop++;
    while (place->part + *place->next < stop) place->next++;
    place->at = stop;
    return stop > start;
}

INLINE int read_value(Place *place, const Column *column, int64_t row) {
    uint8_t *to = (uint8_t *)(uintptr_t)column->to;
    int64_t number;
    double decimal;
    uint8_t flag;
    switch (column->kind) {
        case INT:
            if (!read_int(place, &number)) return 0;
            if (to) memcpy(to + 8 * row, &number, 8);
            return 1;
        case DECIMAL:
            if (!read_decimal(place, &decimal)) return 0;
            if (to) memcpy(to + 8 * row, &decimal, 8);
            return 1;
        case FLAG:
            if (!read_flag(place, &flag)) return 0;
            if (to) to[row] = flag;
            return 1;
        default: return read_text(place);
    }
}

/* Reads a line of `width` columns and what ends it. */
INLINE int read_line(Place *place, const Column *columns, int64_t width, int64_t row) {
    for (int64_t at = 0; at < width; at++) {
        if (!read_value(place, columns + at, row)) return 0;
        if (at + 1 < width) {
            if (*place->at != ',') return 0;
            place->at++;
            place->next++;
        }
    }
    if (*place->at == '\r') {
        place->at++;
        place->next++;
    }
    if (*place->at != '\n') return 0;
    place->at++;
    place->next++;
    return 1;
}

/* Reads a text of lines of `width` columns into arrays of `most` rows each; returns the rows, or GAVE_UP. */
int64_t candlewick_archive_read(const uint8_t *text, int64_t size, const Column *columns, int64_t width, int64_t most) {
    uint16_t marks[PART];
    uint8_t first[BEFORE + PART];
    int64_t rows = 0, at = 0;
    while (at < size) {
        int64_t stop = size - at < PART ? size : at + PART;
        while (stop > at && text[stop - 1] != '\n') stop--;
        if (stop == at) return GAVE_UP; /* no line is that long, or the last one has no end */
        const uint8_t *part = text + at;
        if (at < BEFORE) part = memcpy(first + BEFORE, part, (size_t)(stop - at));
        const uint16_t *end = marks + find_marks(part, (size_t)(stop - at), marks);
        Place place = {part, part, marks};
        for (; place.next < end; rows++)
            if (rows == most || !read_line(&place, columns, width, rows)) return GAVE_UP;
        at = stop;
    }
    return rows;
}
