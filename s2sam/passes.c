/* The passes of blocks.py as loops that read and write each entry once; native.py compiles and calls them.

   Each takes lists of `count` tensors: parameters w, buffers d, gradients g, apart in memory, n[t] entries each. Every
   product and sum is rounded to float32 (compile with -ffp-contract=off), as the method is stated in rules.py. Threads
   share the rows of a tensor; squares are summed in double, each row in LANES sums side by side, so that their order
   depends on nothing but the entries' places. */

#include <stddef.h>

#define ROW 4096  /* entries */
#define LANES 16
#define SHARED 16 /* rows: shorter tensors are not worth a second thread */

/* Runs over the rows r of tensor t: `at` is a row's first entry, `m` its number of entries. */
#define ROWS(n) (((n) + ROW - 1) / ROW)
#define EACH_ROW(work)                                                                   \
    {                                                                                    \
        ptrdiff_t rows = (ptrdiff_t)ROWS(n[t]);                                          \
        _Pragma("omp parallel for schedule(static) num_threads(threads) if (rows > SHARED)") \
        for (ptrdiff_t r = 0; r < rows; r++) {                                           \
            size_t at = (size_t)r * ROW, m = n[t] - at < ROW ? n[t] - at : ROW;          \
            work;                                                                        \
        }                                                                                \
    }

static void lift_row(float *restrict w, float *restrict d, size_t m, float s, float f)
{
    for (size_t i = 0; i < m; i++) {
        float y = w[i] + d[i] * s * f;
        float e = y - w[i];
        d[i] = w[i];
        w[i] += e;
    }
}

static void lower_row(float *restrict w, float *restrict d, size_t m)
{
    for (size_t i = 0; i < m; i++) {
        float e = w[i] - d[i];
        w[i] = d[i];
        d[i] = e;
    }
}

static double square_row(const float *restrict g, size_t m)
{
    double sums[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= m; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            sums[k] += (double)g[i + k] * (double)g[i + k];
    for (size_t k = 0; i < m; i++, k++)
        sums[k] += (double)g[i] * (double)g[i];
    for (size_t half = LANES / 2; half; half /= 2)
        for (size_t k = 0; k < half; k++)
            sums[k] += sums[k + half];
    return sums[0];
}

static void copy_row(float *restrict to, const float *restrict from, size_t m)
{
    for (size_t i = 0; i < m; i++)
        to[i] = from[i];
}

/* From w to y = w + (g s) f, and w into the buffer, which held g; the second sum is that of a retry. */
void lift(size_t count, const size_t *n, int threads, float **w, float **d, const float *s, const float *f)
{
    for (size_t t = 0; t < count; t++)
        EACH_ROW(lift_row(w[t] + at, d[t] + at, m, s[t], f[t]))
}

/* Back to w, which the buffer holds, and e = y - w into the buffer. */
void lower(size_t count, const size_t *n, int threads, float **w, float **d)
{
    for (size_t t = 0; t < count; t++)
        EACH_ROW(lower_row(w[t] + at, d[t] + at, m))
}

/* The sum of squares of each row, one tensor after the other. */
void squares(size_t count, const size_t *n, int threads, float **g, double *sums)
{
    for (size_t t = 0; t < count; sums += ROWS(n[t]), t++)
        EACH_ROW(sums[r] = square_row(g[t] + at, m))
}

/* Back to w, where it is not null; the gradient into the buffer, and its squares as above. */
void keep(size_t count, const size_t *n, int threads, float **w, float **d, float **g, double *sums)
{
    for (size_t t = 0; t < count; sums += ROWS(n[t]), t++)
        EACH_ROW({
            sums[r] = square_row(g[t] + at, m);
            if (w[t])
                copy_row(w[t] + at, d[t] + at, m);
            copy_row(d[t] + at, g[t] + at, m);
        })
}
