/* Blocks into columns and back, as docs/store-format.md describes them: the fast way beside decode.py and encode.py.

   Both ways give the same bits, and `encode` the same bytes: where they differ, this file is wrong. It is plain C99
   without Python.h, called through ctypes (kernel.py). Bytes of a block are never trusted: nothing is read or written
   outside of what the caller gave, whatever they say. All integers are little-endian; kernel.py does not load this on
   other machines. Compile with -ffp-contract=off: a fused multiply-add would round once where the format rounds twice. */

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if UINTPTR_MAX != UINT64_MAX || FLT_EVAL_METHOD != 0 || defined(__FAST_MATH__)
#error "addresses of 64 bits, and doubles that are rounded after every operation, or the bits would differ"
#endif
#if defined(CANDLEWICK_CLONES)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

enum { INTERFACE = 2, VERSION = 1, COLUMNS = 12, DESCRIPTOR = 24, COLUMNS_AT = 16, DATA_AT = 304, CHECKED_FROM = 8 };
enum { OFFSET, SOURCE, CLOSE_TIME, TRADES, OPEN, HIGH, LOW, CLOSE, VOLUME, QUOTE, TAKER, TAKER_QUOTE, SERIES, TARGETS };
enum { RAW, PLAIN, PREDICTED };
enum { GROUP = 4096, MOST_ROWS = 0xFFFF, MOST_PLACES = 11, RAW_WIDTH = 8, PATCH_BYTES = 10, TILE = 512 };
enum { OFF_GRID = -1, NOT_THE_SAME = -2 };
#define EXACT 9007199254740992.0 /* 2**53 */

static const double POWERS[2 * MOST_PLACES + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                   1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                   1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* How an integer of so many bytes is cut, low part first. */
static const uint8_t PARTS[RAW_WIDTH][3] = {{0}, {1}, {2}, {2, 1}, {4}, {4, 1}, {4, 2}, {4, 2, 1}};

/* Where a field is in a row of stores.store.ROW. */
enum { ROW_SIZE = 93, ROW_FIELDS = 11, ROW_SOURCE = 4, ROW_OPEN_TIME = 5, ROW_CLOSE_TIME = 53, ROW_TRADES = 69 };
static const uint8_t ROW_DECIMALS[COLUMNS] = {0, 0, 0, 0, 13, 21, 29, 37, 45, 61, 77, 85};

INLINE uint16_t load16(const uint8_t *at) { uint16_t value; memcpy(&value, at, 2); return value; }
INLINE uint32_t load32(const uint8_t *at) { uint32_t value; memcpy(&value, at, 4); return value; }
INLINE uint64_t load64(const uint8_t *at) { uint64_t value; memcpy(&value, at, 8); return value; }
INLINE int64_t load_int(const uint8_t *at) { int64_t value; memcpy(&value, at, 8); return value; }
INLINE double load_double(const uint8_t *at) { double value; memcpy(&value, at, 8); return value; }
INLINE size_t padded(size_t size) { return (size + 7) & ~(size_t)7; }
INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

int32_t candlewick_interface(void) { return INTERFACE; }

/* ---- Rows ---- */

/* Writes `count` rows of stores.store.ROW, of one series and source, whose other fields are columns in its order. */
void candlewick_rows(const uint8_t *const *columns, int64_t count, uint32_t series, uint8_t source, uint8_t *rows) {
    for (int64_t row = 0; row < count; row++, rows += ROW_SIZE) {
        memcpy(rows, &series, 4);
        rows[ROW_SOURCE] = source;
        for (int field = 0; field < ROW_FIELDS; field++)
            memcpy(rows + ROW_OPEN_TIME + 8 * field, columns[field] + 8 * row, 8);
    }
}

/* ---- Checksums ---- */

WIDE static uint64_t sum_words(const uint8_t *data, size_t count) {
    uint64_t sum = 0;
    for (size_t at = 0; at < count; at++) sum += load64(data + 8 * at);
    return sum;
}

/* The CRC-32 of zlib, of eight more bytes, four bits at a time. */
static uint32_t crc_of(uint32_t crc, uint64_t word) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    for (int at = 0; at < 8; at++, word >>= 8) {
        crc ^= (uint32_t)(word & 0xFF);
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return crc;
}

/* stores.checksum.checksum; `size` is a multiple of 8. */
static uint32_t checksum(const uint8_t *data, size_t size) {
    uint32_t crc = 0xFFFFFFFF;
    if (!size) return 0;
    for (size_t at = 0; at < size; at += GROUP) crc = crc_of(crc, sum_words(data + at, least(GROUP, size - at) / 8));
    return ~crc;
}

/* ---- Reading ---- */

typedef struct {
    const uint8_t *planes[3]; /* those there are */
    const uint8_t *rows, *values; /* of patches */
    double base;
    uint32_t patches;
    uint8_t coding, places, width, ready;
} Column;

typedef struct {
    const uint8_t *data;
    size_t size;
    uint32_t runs, rows;
    Column columns[COLUMNS];
} Block;

/* Rows `first` to `end` of the block of `size` bytes at `data`, to row `to` of the targets. `start`: of its slot 0. */
typedef struct {
    const uint8_t *data;
    uint64_t size, to, first, end;
    int64_t start;
} Job;

typedef struct {
    uint8_t *at; /* NULL: not wanted */
    int64_t stride;
} Target;

static int open_block(Block *block, const uint8_t *data, size_t size) {
    if (size < DATA_AT || size % 8) return 0;
    block->data = data;
    block->size = size;
    block->runs = load16(data + 10);
    block->rows = load32(data + 12);
    size_t head = DATA_AT + padded(4 * (size_t)block->runs);
    if (head > size || checksum(data + CHECKED_FROM, head - CHECKED_FROM) != load32(data)) return 0;
    if (data[8] != VERSION || data[9] != COLUMNS || !block->rows || block->rows > MOST_ROWS || !block->runs) return 0;
    const uint8_t *runs = data + DATA_AT;
    if (load16(runs)) return 0;
    for (uint32_t at = 0; at < block->runs; at++) {
        uint32_t row = load16(runs + 4 * at);
        if (row >= block->rows || (at && row <= load16(runs + 4 * at - 4))) return 0;
    }
    for (int at = 0; at < COLUMNS; at++) block->columns[at].ready = 0;
    return 1;
}

/* The column, once its bytes have been checked and everything it says lies within them; NULL if it does not. */
static const Column *column_of(Block *block, int which) {
    Column *column = &block->columns[which];
    if (column->ready) return column;
    const uint8_t *descriptor = block->data + COLUMNS_AT + DESCRIPTOR * which;
    size_t at = load32(descriptor + 8);
    size_t end = which + 1 < COLUMNS ? load32(descriptor + DESCRIPTOR + 8) : block->size;
    if (at < DATA_AT || at % 8 || end % 8 || end < at || end > block->size) return NULL;
    if (checksum(block->data + at, end - at) != load32(descriptor + 12)) return NULL;
    column->coding = descriptor[0];
    column->places = descriptor[1];
    column->width = descriptor[2];
    column->patches = load32(descriptor + 4);
    column->base = load_double(descriptor + 16);
    if (column->coding == RAW) {
        if (end - at < 8 * (size_t)block->rows || column->patches) return NULL;
        column->planes[0] = block->data + at;
    } else {
        if (column->coding > PREDICTED || column->width >= RAW_WIDTH || column->places >= sizeof POWERS / sizeof *POWERS)
            return NULL;
        if (column->coding == PREDICTED && (!column->width || which < OPEN || which >= CLOSE) && which != QUOTE &&
            which != TAKER_QUOTE)
            return NULL;
        if (!(column->base > -EXACT && column->base < EXACT)) return NULL;
        for (int part = 0; part < 3 && PARTS[column->width][part]; part++) {
            size_t bytes = padded(PARTS[column->width][part] * (size_t)block->rows);
            if (bytes > end - at) return NULL;
            column->planes[part] = block->data + at;
            at += bytes;
        }
        if (column->patches > block->rows || padded(2 * (size_t)column->patches) + 8 * (size_t)column->patches > end - at)
            return NULL;
        column->rows = block->data + at;
        column->values = block->data + at + padded(2 * (size_t)column->patches);
        for (uint32_t patch = 0; patch < column->patches; patch++)
            if (load16(column->rows + 2 * patch) >= block->rows) return NULL;
    }
    column->ready = 1;
    return column;
}

/* Stored integers as doubles, exact below 2**51: the bits of 1.5 * 2**52 + integer are those of that double. */
INLINE double as_double(int64_t value) {
    int64_t bits = value + 0x4338000000000000;
    double result;
    memcpy(&result, &bits, 8);
    return result - 6755399441055744.0;
}

#define EACH(expression) for (size_t i = 0; i < count; i++) out[i] = (expression)

/* `stored`, from row `first` on, as doubles. Seven bytes are too many for `as_double`, and rare. */
WIDE static void doubles_of(const Column *column, size_t first, size_t count, double *restrict out) {
    int width = column->width;
    if (!width) {
        EACH(0.0);
        return;
    }
    const uint8_t *a = column->planes[0] + first * PARTS[width][0];
    const uint8_t *b = PARTS[width][1] ? column->planes[1] + first * PARTS[width][1] : a;
    const uint8_t *c = PARTS[width][2] ? column->planes[2] + first * PARTS[width][2] : a;
    if (column->coding == PREDICTED) switch (width) {
        case 1: EACH((double)(int8_t)a[i]); return;
        case 2: EACH((double)(int16_t)load16(a + 2 * i)); return;
        case 3: EACH((double)((int32_t)load16(a + 2 * i) + (int8_t)b[i] * 65536)); return;
        case 4: EACH((double)(int32_t)load32(a + 4 * i)); return;
        case 5: EACH(as_double((int64_t)load32(a + 4 * i) + (int8_t)b[i] * ((int64_t)1 << 32))); return;
        case 6: EACH(as_double((int64_t)load32(a + 4 * i) + (int16_t)load16(b + 2 * i) * ((int64_t)1 << 32))); return;
        default:
            EACH((double)((int64_t)load32(a + 4 * i) + (int64_t)load16(b + 2 * i) * ((int64_t)1 << 32) +
                          (int8_t)c[i] * ((int64_t)1 << 48)));
            return;
    }
    switch (width) {
        case 1: EACH((double)a[i]); return;
        case 2: EACH((double)(int32_t)load16(a + 2 * i)); return;
        case 3: EACH((double)((int32_t)load16(a + 2 * i) + b[i] * 65536)); return;
        case 4: EACH(as_double((int64_t)load32(a + 4 * i))); return;
        case 5: EACH(as_double((int64_t)load32(a + 4 * i) + b[i] * ((int64_t)1 << 32))); return;
        case 6: EACH(as_double((int64_t)load32(a + 4 * i) + load16(b + 2 * i) * ((int64_t)1 << 32))); return;
        default: break;
    }
}

/* Unsigned integers of any width above a whole base. */
WIDE static void integers_of(const Column *column, size_t first, size_t count, int64_t *restrict out) {
    if (column->coding == RAW) {
        const uint8_t *raw = column->planes[0] + 8 * first;
        EACH(load_int(raw + 8 * i));
        return;
    }
    int width = column->width;
    int64_t base = (int64_t)column->base;
    if (!width) {
        EACH(base);
        return;
    }
    const uint8_t *a = column->planes[0] + first * PARTS[width][0];
    const uint8_t *b = PARTS[width][1] ? column->planes[1] + first * PARTS[width][1] : a;
    const uint8_t *c = PARTS[width][2] ? column->planes[2] + first * PARTS[width][2] : a;
    switch (width) {
        case 1: EACH(base + a[i]); return;
        case 2: EACH(base + load16(a + 2 * i)); return;
        case 3: EACH(base + load16(a + 2 * i) + b[i] * 65536); return;
        case 4: EACH(base + (int64_t)load32(a + 4 * i)); return;
        case 5: EACH(base + (int64_t)load32(a + 4 * i) + b[i] * ((int64_t)1 << 32)); return;
        case 6: EACH(base + (int64_t)load32(a + 4 * i) + load16(b + 2 * i) * ((int64_t)1 << 32)); return;
        default:
            EACH(base + (int64_t)load32(a + 4 * i) + load16(b + 2 * i) * ((int64_t)1 << 32) + c[i] * ((int64_t)1 << 48));
            return;
    }
}

WIDE static void add_each(double *restrict out, const double *restrict other, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] += other[i];
}

WIDE static void add_constant(double *restrict out, double constant, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] += constant;
}

WIDE static void add_larger(double *restrict out, const double *restrict a, const double *restrict b, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] += a[i] > b[i] ? a[i] : b[i];
}

WIDE static void add_smaller(double *restrict out, const double *restrict a, const double *restrict b, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] += a[i] < b[i] ? a[i] : b[i];
}

WIDE static void add_quote(double *restrict out, const double *restrict volume, const double *restrict high,
                           const double *restrict low, double scale, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] += rint(volume[i] * ((high[i] + low[i]) * scale));
}

WIDE static void divide(double *restrict out, const double *restrict units, double power, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = units[i] / power;
}

WIDE static void add_times(int64_t *restrict out, const int64_t *restrict times, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = (int64_t)((uint64_t)out[i] + (uint64_t)times[i]);
}

/* layout.price_scale */
static double price_scale(int price_places, int volume_places, int quote_places) {
    int shift = quote_places - volume_places - price_places;
    return shift >= 0 ? POWERS[shift] / 2 : 1 / POWERS[-shift] / 2;
}

/* What is decoded at a time: everything about a tile of rows stays in the nearest cache. */
typedef struct {
    double units[COLUMNS][TILE];
    double before[TILE];
    double values[TILE];
    int64_t times[TILE];
    int64_t integers[TILE];
    double scale[2];
    double last_close;
    uint32_t needed; /* a bit for each column whose units are needed */
} Tile;

/* The decimal columns that `which` is predicted from, as bits. */
static uint32_t predicted_from(int which) {
    switch (which) {
        case OPEN: return 1u << CLOSE;
        case HIGH:
        case LOW: return 1u << OPEN | 1u << CLOSE;
        case QUOTE: return 1u << VOLUME | 1u << HIGH | 1u << LOW;
        default: return 1u << TAKER | 1u << HIGH | 1u << LOW;
    }
}

/* Columns in an order in which each comes after those it is predicted from. */
static const uint8_t ORDER[8] = {CLOSE, OPEN, HIGH, LOW, VOLUME, TAKER, QUOTE, TAKER_QUOTE};

/* Checks every column that is wanted, and those they are predicted from. */
static int prepare(Block *block, const Target *targets, Tile *tile) {
    for (int which = OFFSET; which < OPEN; which++)
        if ((targets[which].at || (which == OFFSET && targets[CLOSE_TIME].at)) && !column_of(block, which)) return 0;
    tile->needed = 0;
    for (int at = 7; at >= 0; at--) {
        int which = ORDER[at];
        if (!targets[which].at && !(tile->needed >> which & 1)) continue;
        const Column *column = column_of(block, which);
        if (!column) return 0;
        if (column->coding == RAW) {
            if (tile->needed >> which & 1) return 0; /* there are no units to predict from */
            continue;
        }
        tile->needed |= 1u << which;
        if (column->coding == PREDICTED) tile->needed |= predicted_from(which);
    }
    for (int at = 0; at < 2; at++) {
        int quote = at ? TAKER_QUOTE : QUOTE, volume = at ? TAKER : VOLUME;
        if (!(tile->needed >> quote & 1) || block->columns[quote].coding != PREDICTED) continue;
        int high = block->columns[HIGH].places, shift = block->columns[quote].places - block->columns[volume].places - high;
        if (shift < -2 * MOST_PLACES) return 0;
        tile->scale[at] = price_scale(high, block->columns[volume].places, block->columns[quote].places);
    }
    return 1;
}

static void units_of(const Block *block, int which, size_t first, size_t count, Tile *tile) {
    const Column *column = &block->columns[which];
    double *out = tile->units[which];
    if (column->coding == PLAIN && column->width == 7) {
        integers_of(column, first, count, tile->integers);
        for (size_t i = 0; i < count; i++) out[i] = (double)tile->integers[i];
        return;
    }
    doubles_of(column, first, count, out);
    if (column->coding == PLAIN) {
        add_constant(out, column->base, count);
        return;
    }
    switch (which) {
        case OPEN:
            tile->before[0] = first ? tile->last_close : tile->units[CLOSE][0];
            memcpy(tile->before + 1, tile->units[CLOSE], 8 * (count - 1));
            add_each(out, tile->before, count);
            return;
        case HIGH: add_larger(out, tile->units[OPEN], tile->units[CLOSE], count); return;
        case LOW: add_smaller(out, tile->units[OPEN], tile->units[CLOSE], count); return;
        default:
            add_quote(out, tile->units[which == QUOTE ? VOLUME : TAKER], tile->units[HIGH], tile->units[LOW],
                      tile->scale[which != QUOTE], count);
    }
}

/* Values of 8 bytes to rows of a target, from row `to` on. */
static void put(const Target *target, size_t to, const void *values, size_t count) {
    uint8_t *at = target->at + (ptrdiff_t)to * target->stride;
    if (target->stride == 8) {
        memcpy(at, values, 8 * count);
        return;
    }
    for (size_t i = 0; i < count; i++, at += target->stride) memcpy(at, (const uint8_t *)values + 8 * i, 8);
}

static int is_plain(const Target *target) { return target->stride == 8 && (uintptr_t)target->at % 8 == 0; }

/* The open times of some rows. `run` is the run that the first of them is in. */
static void times_of(const Block *block, const Job *job, int64_t length, size_t first, size_t count, uint32_t *run,
                     int64_t *out) {
    const uint8_t *runs = block->data + DATA_AT;
    const Column *offset = &block->columns[OFFSET];
    for (size_t done = 0; done < count;) {
        while (*run + 1 < block->runs && load16(runs + 4 * (*run + 1)) <= first + done) ++*run;
        size_t end = *run + 1 < block->runs ? load16(runs + 4 * (*run + 1)) : block->rows;
        uint64_t slot = load16(runs + 4 * *run + 2) + (first + done - load16(runs + 4 * *run));
        uint64_t time = (uint64_t)job->start + slot * (uint64_t)length;
        for (end = least(end - first, count); done < end; done++, time += (uint64_t)length) out[done] = (int64_t)time;
    }
    if (!offset->ready || (offset->coding == PLAIN && !offset->width && !offset->patches && offset->base == 0)) return;
    int64_t some[TILE];
    integers_of(offset, first, count, some);
    for (uint32_t patch = 0; patch < offset->patches; patch++) {
        size_t row = load16(offset->rows + 2 * patch);
        if (row >= first && row < first + count) some[row - first] = load_int(offset->values + 8 * patch);
    }
    add_times(out, some, count);
}

static void fill_integers(const Block *block, const Target *targets, size_t first, size_t count, size_t to, Tile *tile) {
    if (targets[CLOSE_TIME].at) {
        integers_of(&block->columns[CLOSE_TIME], first, count, tile->integers);
        add_times(tile->integers, tile->times, count);
        put(&targets[CLOSE_TIME], to, tile->integers, count);
    }
    if (targets[TRADES].at) {
        integers_of(&block->columns[TRADES], first, count, tile->integers);
        put(&targets[TRADES], to, tile->integers, count);
    }
    if (targets[SOURCE].at) {
        uint8_t *at = targets[SOURCE].at + (ptrdiff_t)to * targets[SOURCE].stride;
        integers_of(&block->columns[SOURCE], first, count, tile->integers);
        for (size_t i = 0; i < count; i++, at += targets[SOURCE].stride) *at = (uint8_t)tile->integers[i];
    }
    if (targets[OFFSET].at) put(&targets[OFFSET], to, tile->times, count);
}

static void fill_decimals(const Block *block, const Target *targets, size_t first, size_t count, size_t to, Tile *tile) {
    for (int at = 0; at < 8; at++) {
        int which = ORDER[at];
        const Column *column = &block->columns[which];
        const Target *target = &targets[which];
        if (tile->needed >> which & 1) units_of(block, which, first, count, tile);
        if (!target->at) continue;
        if (column->coding == RAW) {
            put(target, to, column->planes[0] + 8 * first, count);
        } else if (is_plain(target)) {
            divide((double *)(void *)target->at + to, tile->units[which], POWERS[column->places], count);
        } else {
            divide(tile->values, tile->units[which], POWERS[column->places], count);
            put(target, to, tile->values, count);
        }
    }
    tile->last_close = tile->units[CLOSE][count - 1];
}

/* Patches last, over the whole of a job. Those of close times are relative to the open time, which is added again. */
static void patch_all(const Block *block, const Job *job, const Target *targets, int64_t length) {
    for (int which = SOURCE; which < COLUMNS; which++) {
        const Column *column = &block->columns[which];
        const Target *target = &targets[which];
        if (!target->at) continue;
        for (uint32_t patch = 0; patch < column->patches; patch++) {
            size_t row = load16(column->rows + 2 * patch);
            const uint8_t *value = column->values + 8 * patch;
            if (row < job->first || row >= job->end) continue;
            uint8_t *at = target->at + (ptrdiff_t)(job->to + (row - job->first)) * target->stride;
            if (which == SOURCE) {
                *at = *value;
            } else if (which == CLOSE_TIME) {
                uint32_t run = 0;
                int64_t time;
                times_of(block, job, length, row, 1, &run, &time);
                time = (int64_t)((uint64_t)time + load64(value));
                memcpy(at, &time, 8);
            } else {
                memcpy(at, value, 8);
            }
        }
    }
}

static int read_job(const Job *job, const Target *targets, int64_t length, uint32_t series, Tile *tile) {
    Block block;
    if (!open_block(&block, job->data, job->size) || job->first >= job->end || job->end > block.rows) return 0;
    if (!prepare(&block, targets, tile)) return 0;
    int timed = targets[OFFSET].at || targets[CLOSE_TIME].at;
    uint32_t run = 0;
    if (job->first && tile->needed >> CLOSE & 1) {
        units_of(&block, CLOSE, job->first - 1, 1, tile);
        tile->last_close = tile->units[CLOSE][0];
    }
    for (size_t first = job->first; first < job->end; first += TILE) {
        size_t count = least(TILE, job->end - first), to = job->to + (first - job->first);
        if (timed) times_of(&block, job, length, first, count, &run, tile->times);
        fill_integers(&block, targets, first, count, to, tile);
        fill_decimals(&block, targets, first, count, to, tile);
        if (targets[SERIES].at) {
            uint8_t *at = targets[SERIES].at + (ptrdiff_t)to * targets[SERIES].stride;
            for (size_t i = 0; i < count; i++, at += targets[SERIES].stride) memcpy(at, &series, 4);
        }
    }
    patch_all(&block, job, targets, length);
    return 1;
}

/* Does all jobs, in order. Returns how many it did: fewer than `count` if the next one's block is damaged. Targets:
   twelve columns in the order of a block, open times in place of offsets, then the number of the series. */
int64_t candlewick_read(const Job *jobs, int64_t count, const Target *targets, int64_t length, uint32_t series) {
    Tile tile;
    memset(&tile, 0, sizeof tile);
    for (int64_t at = 0; at < count; at++)
        if (!read_job(&jobs[at], targets, length, series, &tile)) return at;
    return count;
}

/* ---- Writing: the choices of encode.py and packing.py, step by step ---- */

/* A decimal column in units of its last place; where not `exact`, the integer is 0. */
typedef struct {
    int places, whole; /* whole: exact everywhere */
    double *integers;
    uint8_t *exact;
} Scaled;

/* Integers, less `base`, in the low `width` bytes of `stored`; those in `patches` did not fit and are 0 there. */
typedef struct {
    int64_t base;
    int width;
    uint32_t patches;
    int64_t *stored;
    uint16_t *rows;
} Packed;

typedef struct {
    size_t count;
    uint8_t *values[COLUMNS]; /* the columns as they are, 8 bytes each, on end */
    double *read[COLUMNS];    /* what a reader will have of it before patching; NULL: nothing */
    Scaled scaled[COLUMNS];
    int64_t *times, *stored, *sorted, *integers;
    double *expected;
    uint8_t *exact;
    uint16_t *rows;
    uint8_t *out, *end;
} Writer;

static int by_value(const void *a, const void *b) {
    int64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return (x > y) - (x < y);
}

/* Moves the `wanted` smallest values to the front, in any order. */
static void select_smallest(int64_t *values, size_t count, size_t wanted) {
    size_t low = 0, high = count - 1, turns = 64;
    while (low < high) {
        if (!turns--) { /* whoever made these values wants this to take long */
            qsort(values + low, high - low + 1, 8, by_value);
            return;
        }
        int64_t a = values[low], b = values[low + (high - low) / 2], c = values[high];
        int64_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        size_t left = low, right = high;
        for (;; left++, right--) {
            while (values[left] < pivot) left++;
            while (values[right] > pivot) right--;
            if (left >= right) break;
            int64_t other = values[left];
            values[left] = values[right];
            values[right] = other;
        }
        if (right + 1 <= wanted - 1) low = right + 1;
        else high = right;
    }
}

INLINE int bits_of(uint64_t value) {
#if defined(__GNUC__)
    return value ? 64 - __builtin_clzll(value) : 0;
#else
    int bits = 0;
    for (; value; value >>= 1) bits++;
    return bits;
#endif
}

static size_t cost_of(size_t rows, int width, size_t fitting) { return rows * (size_t)width + (rows - fitting) * PATCH_BYTES; }

WIDE static int any_beyond(const int64_t *integers, size_t count, int64_t half, uint64_t limit) {
    uint64_t beyond = 0;
    for (size_t i = 0; i < count; i++) beyond |= (uint64_t)integers[i] + (uint64_t)half;
    return (beyond & ~(limit - 1)) != 0; /* the limit is a power of two */
}

/* packing._patched; 0: raw is as cheap. `half` is added to what is compared: of signed integers, half their range. */
static int patch_out(Packed *packed, size_t count, const uint8_t *exact, int64_t half) {
    uint64_t limit = (uint64_t)1 << 8 * packed->width;
    packed->patches = 0;
    if (!exact && !any_beyond(packed->stored, count, half, limit)) return 1;
    for (size_t i = 0; i < count; i++)
        if ((uint64_t)(packed->stored[i] + half) >= limit || (exact && !exact[i])) {
            packed->rows[packed->patches++] = (uint16_t)i;
            packed->stored[i] = 0;
        }
    return !packed->patches || cost_of(count, packed->width, count - packed->patches) < RAW_WIDTH * count;
}

static size_t fitting(const Writer *writer, const int64_t *integers, const uint8_t *exact) {
    size_t count = 0;
    for (size_t i = 0; i < writer->count; i++)
        if (!exact || exact[i]) writer->sorted[count++] = integers[i];
    return count;
}

/* Whether integers of one byte less could hold all but a sixteenth of the values above some base: no if even windows
   an eighth wider than that hold too few. It is never wrong about no, which saves the ordering. */
static int may_be_narrower(const int64_t *values, size_t count, int64_t low, int width) {
    enum { EIGHTHS = 8, BINS = 256 * EIGHTHS };
    uint16_t bins[BINS + EIGHTHS + 1] = {0};
    size_t inside = 0, wanted = count - count / 16;
    int shift = 8 * (width - 1) - 3;
    if (shift < 0) return 1;
    for (size_t i = 0; i < count; i++) bins[(uint64_t)(values[i] - low) >> shift]++;
    for (int at = 0; at <= EIGHTHS; at++) inside += bins[at];
    for (int at = 0; at < BINS; at++) {
        if (inside >= wanted) return 1;
        inside += bins[at + EIGHTHS + 1];
        inside -= bins[at];
    }
    return 0;
}

/* packing.pack */
static int pack(Writer *writer, const int64_t *integers, const uint8_t *exact, Packed *packed) {
    static const size_t shares[4] = {0, 256, 64, 16};
    size_t rows = writer->count, count = fitting(writer, integers, exact);
    int64_t *sorted = writer->sorted, base = 0;
    if (!count) return 0;
    int64_t low = sorted[0], high = sorted[0];
    for (size_t i = 1; i < count; i++) {
        low = sorted[i] < low ? sorted[i] : low;
        high = sorted[i] > high ? sorted[i] : high;
    }
    size_t best = RAW_WIDTH * rows, tail = count / 16 + 1, cost;
    int width = RAW_WIDTH, narrow = (bits_of((uint64_t)(high - low)) + 7) / 8, shares_tried = 1;
    if (narrow && may_be_narrower(sorted, count, low, narrow)) { /* the tails, in order: all the choice depends on */
        shares_tried = 4;
        select_smallest(sorted, count, tail);
        qsort(sorted, tail, 8, by_value);
        if (count > 2 * tail) {
            size_t rest = count - tail;
            for (size_t i = 0; i < rest; i++) sorted[tail + i] = -sorted[tail + i];
            select_smallest(sorted + tail, rest, tail);
            for (size_t i = 0; i < rest; i++) sorted[tail + i] = -sorted[tail + i];
            for (size_t i = 0; i < tail; i++) { /* the largest to the end */
                int64_t other = sorted[tail + i];
                sorted[tail + i] = sorted[count - 1 - i];
                sorted[count - 1 - i] = other;
            }
            qsort(sorted + count - tail, tail, 8, by_value);
        } else {
            qsort(sorted, count, 8, by_value);
        }
    } else {
        sorted[0] = low;
        sorted[count - 1] = high;
    }
    for (int at = 0; at < shares_tried; at++) {
        size_t spare = shares[at] ? count / shares[at] : 0, first = 0;
        for (size_t i = 1; i <= spare; i++)
            if (sorted[count - 1 - spare + i] - sorted[i] < sorted[count - 1 - spare + first] - sorted[first]) first = i;
        int64_t span = sorted[count - 1 - spare + first] - sorted[first];
        int each = (bits_of((uint64_t)span) + 7) / 8;
        cost = cost_of(rows, each, count - spare);
        if (cost < best || (cost == best && (sorted[first] < base || (sorted[first] == base && each < width)))) {
            best = cost;
            base = sorted[first];
            width = each;
        }
        if (!each) break;
    }
    if (width >= RAW_WIDTH) return 0;
    for (size_t i = 0; i < rows; i++) writer->stored[i] = integers[i] - base;
    *packed = (Packed){base, width, 0, writer->stored, writer->rows};
    return patch_out(packed, rows, exact, 0);
}

/* packing.pack_signed: as only widths matter, counting how many integers need each is enough. */
static int pack_signed(Writer *writer, const int64_t *integers, const uint8_t *exact, Packed *packed) {
    static const size_t shares[4] = {0, 256, 64, 16};
    size_t rows = writer->count, count = 0, needing[RAW_WIDTH + 1] = {0}, best = RAW_WIDTH * rows;
    int width = RAW_WIDTH;
    for (size_t i = 0; i < rows; i++) {
        if (exact && !exact[i]) continue;
        uint64_t magnitude = (uint64_t)(integers[i] ^ (integers[i] < 0 ? -1 : 0));
        needing[bits_of(magnitude) / 8 + 1]++;
        count++;
    }
    if (!count) return 0;
    for (int at = 0; at < 4; at++) {
        size_t spare = shares[at] ? count / shares[at] : 0, over = 0;
        int each = RAW_WIDTH;
        while (each > 1 && over + needing[each] <= spare) over += needing[each--];
        size_t cost = cost_of(rows, each, count - spare);
        if (cost < best || (cost == best && each < width)) {
            best = cost;
            width = each;
        }
    }
    if (width >= RAW_WIDTH) return 0;
    memcpy(writer->stored, integers, 8 * rows);
    *packed = (Packed){0, width, 0, writer->stored, writer->rows};
    return patch_out(packed, rows, exact, (int64_t)(((uint64_t)1 << 8 * width) >> 1));
}

/* Values in units of 1 / power, and whether dividing gives the very same bits. Returns how many do not. */
WIDE static size_t scale_by(double power, const double *restrict values, size_t count, double *restrict integers,
                            uint8_t *restrict exact) {
    size_t inexact = 0;
    for (size_t i = 0; i < count; i++) {
        double integer = rint(values[i] * power) + 0.0, again = integer / power;
        uint64_t before, after;
        memcpy(&before, &values[i], 8);
        memcpy(&after, &again, 8);
        integers[i] = integer;
        exact[i] = (before == after) & (integer < EXACT) & (integer > -EXACT);
    }
    for (size_t i = 0; i < count; i++) inexact += !exact[i];
    return inexact;
}

/* The decimal places at which most of a sample of `values` are exact; of several, the fewest. */
static int likely_places(const double *values, size_t count) {
    double sample[128], integers[128];
    uint8_t exact[128];
    size_t step = count / 64 ? count / 64 : 1, most = 0, size = 0;
    int best = 0;
    for (size_t i = 0; i < count; i += step) sample[size++] = values[i];
    for (int places = 0; places <= MOST_PLACES; places++) {
        size_t hits = size - scale_by(POWERS[places], sample, size, integers, exact);
        if (hits > most) {
            most = hits;
            best = places;
        }
    }
    return best;
}

/* encode._scale, for `parts` columns whose values lie one after the other, as do their `integers` and `exact`. */
static void scale_group(Writer *writer, const uint8_t *which, size_t parts) {
    const double *values = (const double *)(const void *)writer->values[which[0]];
    Scaled *first = &writer->scaled[which[0]];
    size_t count = parts * writer->count, inexact, left = 0;
    int best = -1, last = -1;
    double cost = INFINITY;
    for (int places = likely_places(values, count); places <= MOST_PLACES; places++) {
        inexact = scale_by(POWERS[places], values, count, first->integers, first->exact);
        last = places;
        double each = places * 0.415 * (double)count + (double)(inexact * PATCH_BYTES);
        if (each < cost) {
            best = places;
            cost = each;
            left = inexact;
        }
        if (!inexact) break;
    }
    if (best != last) scale_by(POWERS[best], values, count, first->integers, first->exact);
    for (size_t i = 0; left && i < count; i++)
        if (!first->exact[i]) first->integers[i] = 0.0;
    for (size_t at = 0; at < parts; at++) {
        writer->scaled[which[at]].places = best;
        writer->scaled[which[at]].whole = !left;
    }
}

static void describe(Writer *writer, int which, int coding, int places, const Packed *packed, const uint8_t *data) {
    uint8_t *at = writer->out + COLUMNS_AT + DESCRIPTOR * which;
    uint32_t patches = packed ? packed->patches : 0, offset = (uint32_t)(data - writer->out);
    uint32_t sum = checksum(data, (size_t)(writer->end - data));
    double base = packed ? (double)packed->base : 0.0;
    at[0] = (uint8_t)coding;
    at[1] = (uint8_t)places;
    at[2] = packed ? (uint8_t)packed->width : RAW_WIDTH;
    at[3] = 0;
    memcpy(at + 4, &patches, 4);
    memcpy(at + 8, &offset, 4);
    memcpy(at + 12, &sum, 4);
    memcpy(at + 16, &base, 8);
}

static void align_end(Writer *writer) {
    while ((writer->end - writer->out) % 8) *writer->end++ = 0;
}

WIDE static void put_plane(uint8_t *restrict out, const int64_t *restrict stored, size_t count, int bytes, int shift) {
    if (bytes == 1)
        for (size_t i = 0; i < count; i++) out[i] = (uint8_t)((uint64_t)stored[i] >> shift);
    else if (bytes == 2)
        for (size_t i = 0; i < count; i++) {
            uint16_t part = (uint16_t)((uint64_t)stored[i] >> shift);
            memcpy(out + 2 * i, &part, 2);
        }
    else
        for (size_t i = 0; i < count; i++) {
            uint32_t part = (uint32_t)((uint64_t)stored[i] >> shift);
            memcpy(out + 4 * i, &part, 4);
        }
}

static void put_packed(Writer *writer, int which, int coding, int places, const Packed *packed) {
    const uint8_t *data = writer->end;
    int shift = 0;
    for (int part = 0; part < 3 && PARTS[packed->width][part]; part++) {
        int bytes = PARTS[packed->width][part];
        put_plane(writer->end, packed->stored, writer->count, bytes, shift);
        writer->end += (size_t)bytes * writer->count;
        align_end(writer);
        shift += 8 * bytes;
    }
    if (packed->patches) {
        memcpy(writer->end, packed->rows, 2 * (size_t)packed->patches);
        writer->end += 2 * (size_t)packed->patches;
        align_end(writer);
        for (uint32_t at = 0; at < packed->patches; at++, writer->end += 8)
            memcpy(writer->end, writer->values[which] + 8 * (size_t)packed->rows[at], 8);
    }
    describe(writer, which, coding, places, packed, data);
}

static void put_raw(Writer *writer, int which) {
    const uint8_t *data = writer->end;
    memcpy(writer->end, writer->values[which], 8 * writer->count);
    writer->end += 8 * writer->count;
    describe(writer, which, RAW, 0, NULL, data);
}

static void put_integers(Writer *writer, int which) {
    const int64_t *values = (const int64_t *)(const void *)writer->values[which];
    int fits = 1;
    Packed packed;
    for (size_t i = 0; i < writer->count; i++) fits &= (values[i] > -(int64_t)EXACT) & (values[i] < (int64_t)EXACT);
    if (fits && pack(writer, values, NULL, &packed)) put_packed(writer, which, PLAIN, 0, &packed);
    else put_raw(writer, which);
}

/* encode._sane: what is left of the expectation, to `writer->integers`; where adding the two again is exact. */
WIDE static const uint8_t *left_over(Writer *writer, const Scaled *scaled) {
    const double *restrict integers = scaled->integers, *restrict expected = writer->expected;
    int64_t *restrict out = writer->integers;
    int sane = 1;
    for (size_t i = 0; i < writer->count; i++) {
        double rest = integers[i] - expected[i];
        int fine = (expected[i] < EXACT) & (expected[i] > -EXACT) & (rest < EXACT) & (rest > -EXACT);
        out[i] = (int64_t)(fine ? rest : 0.0);
        sane &= fine;
    }
    if (sane) return scaled->whole ? NULL : scaled->exact;
    for (size_t i = 0; i < writer->count; i++) {
        double rest = integers[i] - expected[i];
        int fine = (expected[i] < EXACT) & (expected[i] > -EXACT) & (rest < EXACT) & (rest > -EXACT);
        writer->exact[i] = (uint8_t)(fine && (scaled->whole || scaled->exact[i]));
    }
    return writer->exact;
}

/* What the columns read so far let one expect of this one, to `writer->expected`; 0 where they do not. */
WIDE static int expect(Writer *writer, int which) {
    double **read = writer->read, *restrict out = writer->expected;
    size_t count = writer->count;
    if (which == CLOSE || which == VOLUME || which == TAKER) return 0;
    if (which == QUOTE || which == TAKER_QUOTE) {
        int volume = which == QUOTE ? VOLUME : TAKER;
        if (!read[HIGH] || !read[LOW] || !read[volume]) return 0;
        double scale =
            price_scale(writer->scaled[HIGH].places, writer->scaled[volume].places, writer->scaled[which].places);
        for (size_t i = 0; i < count; i++) out[i] = rint(read[volume][i] * ((read[HIGH][i] + read[LOW][i]) * scale));
        return 1;
    }
    const double *restrict close = read[CLOSE], *restrict open = read[OPEN];
    if (!close || (which != OPEN && !open)) return 0;
    if (which == OPEN) {
        out[0] = close[0];
        memcpy(out + 1, close, 8 * (count - 1));
    } else if (which == HIGH) {
        for (size_t i = 0; i < count; i++) out[i] = open[i] > close[i] ? open[i] : close[i];
    } else {
        for (size_t i = 0; i < count; i++) out[i] = open[i] < close[i] ? open[i] : close[i];
    }
    return 1;
}

WIDE static void sum_of(double *restrict out, const int64_t *restrict stored, const double *restrict expected,
                        double base, size_t count) {
    if (expected)
        for (size_t i = 0; i < count; i++) out[i] = (double)stored[i] + expected[i];
    else
        for (size_t i = 0; i < count; i++) out[i] = (double)stored[i] + base;
}

WIDE static void whole_of(int64_t *restrict out, const double *restrict integers, size_t count) {
    for (size_t i = 0; i < count; i++) out[i] = (int64_t)integers[i];
}

static void put_decimals(Writer *writer, int which) {
    Scaled *scaled = &writer->scaled[which];
    const double *expected = expect(writer, which) ? writer->expected : NULL;
    Packed packed;
    if (expected && pack_signed(writer, writer->integers, left_over(writer, scaled), &packed)) {
        put_packed(writer, which, PREDICTED, scaled->places, &packed);
    } else {
        expected = NULL;
        whole_of(writer->integers, scaled->integers, writer->count);
        if (!pack(writer, writer->integers, scaled->whole ? NULL : scaled->exact, &packed)) {
            put_raw(writer, which);
            return;
        }
        put_packed(writer, which, PLAIN, scaled->places, &packed);
    }
    sum_of(scaled->integers, packed.stored, expected, (double)packed.base, writer->count);
    writer->read[which] = scaled->integers;
}

/* Closes are the first that is predicted from and the fourth to lie in a block: meanwhile they wait in `aside`. */
static void put_all_decimals(Writer *writer, uint8_t *aside) {
    static const uint8_t later[4] = {VOLUME, QUOTE, TAKER, TAKER_QUOTE};
    uint8_t *from = writer->end;
    put_decimals(writer, CLOSE);
    size_t size = (size_t)(writer->end - from);
    memcpy(aside, from, size);
    writer->end = from;
    for (int which = OPEN; which < CLOSE; which++) put_decimals(writer, which);
    uint32_t offset = (uint32_t)(writer->end - writer->out);
    memcpy(writer->out + COLUMNS_AT + DESCRIPTOR * CLOSE + 8, &offset, 4);
    memcpy(writer->end, aside, size);
    writer->end += size;
    for (int at = 0; at < 4; at++) put_decimals(writer, later[at]);
}

/* The columns of rows, one after the other; `slots` in place of runs. 0: a row is not of this block. */
static int gather(Writer *writer, const uint8_t *rows, int64_t start, int64_t length, uint16_t *slots) {
    int64_t *integers[OPEN], slot = 0, at = start, later;
    double *decimals[COLUMNS] = {0};
    for (int which = 0; which < OPEN; which++) integers[which] = (int64_t *)(void *)writer->values[which];
    for (int which = OPEN; which < COLUMNS; which++) decimals[which] = (double *)(void *)writer->values[which];
    for (size_t i = 0; i < writer->count; i++, rows += ROW_SIZE) {
        int64_t time = load_int(rows + ROW_OPEN_TIME);
        if (time < start || (i && time < writer->times[i - 1])) return 0;
        later = (int64_t)((uint64_t)time - (uint64_t)at);
        if (later != 0) {
            slot = (int64_t)((uint64_t)time - (uint64_t)start) / length;
            if (slot < 0 || slot > MOST_ROWS) return 0;
            at = start + slot * length;
        }
        writer->times[i] = time;
        slots[i] = (uint16_t)slot;
        integers[OFFSET][i] = time - at;
        integers[SOURCE][i] = rows[ROW_SOURCE];
        integers[CLOSE_TIME][i] = (int64_t)(load64(rows + ROW_CLOSE_TIME) - (uint64_t)time);
        integers[TRADES][i] = load_int(rows + ROW_TRADES);
        for (int which = OPEN; which < COLUMNS; which++) decimals[which][i] = load_double(rows + ROW_DECIMALS[which]);
        slot++;
        at += length;
    }
    return 1;
}

static void put_runs(Writer *writer, const uint16_t *slots) {
    uint16_t runs = 0;
    for (size_t i = 0; i < writer->count; i++) {
        if (i && slots[i] == (uint16_t)(slots[i - 1] + 1)) continue;
        uint16_t run[2] = {(uint16_t)i, slots[i]};
        memcpy(writer->end, run, 4);
        writer->end += 4;
        runs++;
    }
    align_end(writer);
    memcpy(writer->out + 10, &runs, 2);
}

/* Whether the block reads back as the very rows it was made of; `room` for 8 bytes of every value. */
static int reads_back(const Writer *writer, int64_t start, int64_t length, uint8_t *room) {
    Target targets[TARGETS] = {{0}};
    Tile tile;
    size_t count = writer->count;
    Job job = {writer->out, (uint64_t)(writer->end - writer->out), 0, 0, count, start};
    for (int which = 0; which < COLUMNS; which++)
        targets[which] = (Target){room + 8 * count * (size_t)which, which == SOURCE ? 1 : 8};
    memset(&tile, 0, sizeof tile);
    if (!read_job(&job, targets, length, 0, &tile)) return 0;
    if (memcmp(targets[OFFSET].at, writer->times, 8 * count)) return 0;
    for (size_t i = 0; i < count; i++) {
        if (targets[SOURCE].at[i] != writer->values[SOURCE][8 * i]) return 0;
        if (load64(targets[CLOSE_TIME].at + 8 * i) - (uint64_t)writer->times[i] != load64(writer->values[CLOSE_TIME] + 8 * i))
            return 0;
    }
    for (int which = TRADES; which < COLUMNS; which++)
        if (memcmp(targets[which].at, writer->values[which], 8 * count)) return 0;
    return 1;
}

enum { ARRAYS = 2 * COLUMNS + 8 + 5, ROOM_A_ROW = (ARRAYS + 2) * 8 + 4 };

/* Shares out the room that a writer works in, `ROOM_A_ROW` bytes for each row. Returns where it may read back to. */
static uint8_t *move_in(Writer *writer, uint8_t *at) {
    static const uint8_t order[COLUMNS] = {OFFSET, SOURCE, CLOSE_TIME, TRADES, OPEN,  HIGH,
                                           LOW,    CLOSE,  VOLUME,     TAKER,  QUOTE, TAKER_QUOTE};
    size_t size = 8 * writer->count;
    int64_t **arrays[4] = {&writer->times, &writer->stored, &writer->sorted, &writer->integers};
    for (int which = 0; which < COLUMNS; which++, at += size) writer->values[order[which]] = at;
    uint8_t *again = at;
    at += COLUMNS * size;
    for (int which = OPEN; which < COLUMNS; which++, at += size)
        writer->scaled[order[which]].integers = (double *)(void *)at;
    for (int each = 0; each < 4; each++, at += size) *arrays[each] = (int64_t *)(void *)at;
    writer->expected = (double *)(void *)at;
    at += size;
    for (int which = OPEN; which < COLUMNS; which++, at += writer->count) writer->scaled[order[which]].exact = at;
    writer->exact = at;
    writer->rows = (uint16_t *)(void *)(at + size);
    return again;
}

/* How many bytes the block of so many rows can need, and the room to make it in. */
int64_t candlewick_most(int64_t count) { return DATA_AT + 4 * count + 8 + COLUMNS * (8 * count + 64); }
int64_t candlewick_room(int64_t count) { return ROOM_A_ROW * count; }

/* The block of `count` rows of stores.store.ROW at `rows`, by open time, whose first slot is at `start`, to `out`, where
   there are `candlewick_most(count)` bytes; `room` has `candlewick_room(count)`, on an address that 8 divides. Returns
   its size; OFF_GRID: rows are not of it; NOT_THE_SAME: it does not read back as it is. */
int64_t candlewick_encode(const uint8_t *rows, int64_t count, int64_t start, int64_t length, uint8_t *out, uint8_t *room) {
    static const uint8_t prices[4] = {OPEN, HIGH, LOW, CLOSE}, volumes[2] = {VOLUME, TAKER}, quotes[2] = {QUOTE, TAKER_QUOTE};
    if (count < 1 || count > MOST_ROWS || length < 1) return OFF_GRID;
    Writer writer = {.count = (size_t)count, .out = out, .end = out + DATA_AT};
    uint8_t *again = move_in(&writer, room);
    uint32_t number = (uint32_t)count;
    if (!gather(&writer, rows, start, length, writer.rows)) return OFF_GRID;
    memset(out, 0, DATA_AT);
    out[8] = VERSION;
    out[9] = COLUMNS;
    memcpy(out + 12, &number, 4);
    put_runs(&writer, writer.rows);
    size_t head = (size_t)(writer.end - out);
    for (int which = 0; which < OPEN; which++) put_integers(&writer, which);
    scale_group(&writer, prices, 4);
    scale_group(&writer, volumes, 2);
    scale_group(&writer, quotes, 2);
    put_all_decimals(&writer, again);
    uint32_t sum = checksum(out + CHECKED_FROM, head - CHECKED_FROM);
    memcpy(out, &sum, 4);
    return reads_back(&writer, start, length, again) ? writer.end - out : NOT_THE_SAME;
}
