/* Leaves of certificates, as docs/certificates.md describes them: the fast way beside encoding.py.

   Both ways give the same bits, or this file is wrong. SHA-256 (FIPS 180-4) of eight blocks is made at once, each in a
   lane of the processor's vectors. It is C99 without Python.h, called through ctypes (leaf_kernel.py), little-endian. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__GNUC__)
#error "needs vectors as GCC and Clang have them"
#endif
#if defined(CANDLEWICK_CLONES)
#define WIDE __attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#else
#define WIDE
#endif
#define INLINE static inline __attribute__((always_inline))

enum { INTERFACE = 1, COLUMNS = 11, LANES = 8, CHUNK = 64, FILL_ROWS = 64, MOST_TITLE = 256, WORD = 8 };
enum { ROOM = CHUNK + MOST_TITLE + FILL_ROWS * COLUMNS * WORD + 2 * CHUNK };

typedef uint32_t Vector __attribute__((vector_size(4 * LANES)));

/* What is found of a block: its hash, and of each column the sums of the halves of its words, low and high, and those
   of the halves times the slot. */
typedef struct {
    uint8_t digest[32];
    uint64_t sums[4][COLUMNS];
} Leaf;

/* `rows` rows from `first` on are those of a block whose first slot is `slot`; `title` is hashed before them. */
typedef struct {
    const uint8_t *title;
    uint64_t title_size, first, rows;
    int64_t slot;
    Leaf *leaf;
} Job;

/* A block that is being hashed: bytes[at] to bytes[end] are those not hashed yet of what was put together so far. */
typedef struct {
    const Job *job; /* NULL: none */
    uint64_t row;
    size_t at, end;
    int is_whole;
    uint8_t bytes[ROOM];
} Lane;

static const uint32_t START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint32_t CONSTANTS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

int32_t candlewick_leaf_interface(void) { return INTERFACE; }

#define TURNED(x, by) (((x) >> (by)) | ((x) << (32 - (by))))

/* Hashes `count` chunks of every lane. */
WIDE static void hash_chunks(Vector state[8], const uint8_t *const from[LANES], size_t count) {
    for (size_t at = 0; at < count; at++) {
        uint32_t words[16][LANES];
        for (int lane = 0; lane < LANES; lane++)
            for (int word = 0; word < 16; word++) {
                uint32_t value;
                memcpy(&value, from[lane] + CHUNK * at + 4 * word, 4);
                words[word][lane] = __builtin_bswap32(value);
            }
        Vector w[16], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6],
                      h = state[7];
        memcpy(w, words, sizeof w);
#pragma GCC unroll 64
        for (int round = 0; round < 64; round++) {
            if (round >= 16) {
                Vector near = w[(round + 14) & 15], far = w[(round + 1) & 15];
                w[round & 15] += (TURNED(near, 17) ^ TURNED(near, 19) ^ near >> 10) + w[(round + 9) & 15] +
                                 (TURNED(far, 7) ^ TURNED(far, 18) ^ far >> 3);
            }
            Vector first = h + (TURNED(e, 6) ^ TURNED(e, 11) ^ TURNED(e, 25)) + (g ^ (e & (f ^ g))) + CONSTANTS[round] +
                           w[round & 15];
            Vector second = (TURNED(a, 2) ^ TURNED(a, 13) ^ TURNED(a, 22)) + ((a & b) | (c & (a | b)));
            h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

static void begin(Lane *lane, const Job *job, Vector state[8], int place) {
    lane->job = job;
    lane->row = lane->at = lane->is_whole = 0;
    lane->end = (size_t)job->title_size;
    memcpy(lane->bytes, job->title, lane->end);
    for (int word = 0; word < 8; word++) state[word][place] = START[word];
}

/* Puts more of what is to be hashed together; a whole number of chunks at the end. */
static void fill(Lane *lane, const uint64_t *const columns[COLUMNS]) {
    const Job *job = lane->job;
    memmove(lane->bytes, lane->bytes + lane->at, lane->end - lane->at);
    lane->end -= lane->at;
    lane->at = 0;
    uint64_t stop = job->rows - lane->row < FILL_ROWS ? job->rows : lane->row + FILL_ROWS;
    for (; lane->row < stop; lane->row++)
        for (int column = 0; column < COLUMNS; column++, lane->end += WORD)
            memcpy(lane->bytes + lane->end, columns[column] + job->first + lane->row, WORD);
    if (lane->row < job->rows) return;
    uint64_t bits = 8 * (job->title_size + job->rows * COLUMNS * WORD);
    lane->bytes[lane->end++] = 0x80;
    while (lane->end % CHUNK != CHUNK - 8) lane->bytes[lane->end++] = 0;
    for (int shift = 56; shift >= 0; shift -= 8) lane->bytes[lane->end++] = (uint8_t)(bits >> shift);
    lane->is_whole = 1;
}

static void finish(Lane *lane, Vector state[8], int place) {
    for (int word = 0; word < 8; word++) {
        uint32_t value = __builtin_bswap32(state[word][place]);
        memcpy(lane->job->leaf->digest + 4 * word, &value, 4);
    }
    lane->job = NULL;
}

static void hash_all(const Job *jobs, size_t count, const uint64_t *const columns[COLUMNS]) {
    Lane lanes[LANES];
    Vector state[8];
    size_t next = 0;
    memset(state, 0, sizeof state);
    for (int place = 0; place < LANES; place++) lanes[place].job = NULL;
    for (;;) {
        const uint8_t *from[LANES], *any = NULL;
        size_t chunks = ROOM;
        for (int place = 0; place < LANES; place++) {
            Lane *lane = lanes + place;
            from[place] = NULL;
            if (lane->job && lane->is_whole && lane->at == lane->end) finish(lane, state, place);
            if (!lane->job) {
                if (next == count) continue;
                begin(lane, jobs + next++, state, place);
            }
            while (!lane->is_whole && lane->end - lane->at < CHUNK) fill(lane, columns);
            size_t ready = (lane->end - lane->at) / CHUNK;
            if (ready < chunks) chunks = ready;
            any = from[place] = lane->bytes + lane->at;
        }
        if (!any) return;
        for (int place = 0; place < LANES; place++) {
            if (from[place]) lanes[place].at += CHUNK * chunks;
            else from[place] = any; /* hashed for nothing */
        }
        hash_chunks(state, from, chunks);
    }
}

/* Sums of halves of 32 bits cannot overflow: with up to 2**14 rows they are below 2**46, times their slots below 2**60. */
WIDE static void sum_column(const uint64_t *words, const int64_t *slots, int64_t slot, size_t rows, uint64_t sums[4]) {
    uint64_t low = 0, high = 0, low_moment = 0, high_moment = 0;
    for (size_t row = 0; row < rows; row++) {
        uint64_t place = (uint32_t)(slots[row] - slot), lower = (uint32_t)words[row], upper = words[row] >> 32;
        low += lower;
        high += upper;
        low_moment += lower * place;
        high_moment += upper * place;
    }
    sums[0] = low, sums[1] = high, sums[2] = low_moment, sums[3] = high_moment;
}

/* Makes the leaves of `count` blocks; without sums if `slots`, which are those of all rows, is NULL. */
void candlewick_leaves(const Job *jobs, int64_t count, const uint64_t *const columns[COLUMNS], const int64_t *slots) {
    hash_all(jobs, (size_t)count, columns);
    for (int64_t at = 0; slots && at < count; at++)
        for (int column = 0; column < COLUMNS; column++) {
            uint64_t sums[4];
            const Job *job = jobs + at;
            sum_column(columns[column] + job->first, slots + job->first, job->slot, (size_t)job->rows, sums);
            for (int kind = 0; kind < 4; kind++) job->leaf->sums[kind][column] = sums[kind];
        }
}
