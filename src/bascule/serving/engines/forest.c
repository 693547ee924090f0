/* A forest of decision trees over rows of float64. The children of a node lie side by side; a leaf is its own child. */
#include <math.h>
#include <stdint.h>

#define LANES 8   /* trees, or rows, that are walked together: their loads do not wait for each other */
#define BLOCK 256 /* rows for which one tree stays in the cache */

typedef struct {
    double threshold; /* a value goes to `child` when it is <= this, else to `child` + 1; of a leaf: infinity */
    int32_t feature;
    int32_t child;
    int32_t set;      /* -1 for a number; else the first word of the set of categories that goes to `child` */
    uint16_t words;   /* of that set */
    uint16_t missing; /* 0 or 1: what NaN adds to `child` */
} Node;

typedef struct {
    const Node *nodes;
    const double *values;   /* [nodes][width] */
    const int32_t *roots;   /* [trees] */
    const int32_t *depths;  /* [trees] */
    const int32_t *targets; /* [trees]: the output that a tree of width 1 adds to */
    const uint32_t *sets;
    const double *base;     /* [outputs] */
    int32_t trees, inputs, outputs, width;
    int32_t single;         /* inputs are rounded to float32 before they are compared */
    int32_t single_sums;    /* sums are rounded to float32 after each tree */
    int32_t categorical;    /* some node has a set */
    int32_t link;           /* 0 as it is, 1 logistic, 2 softmax, 3 exponential, 4 logistic in float32, 5 each logistic */
    double divide, factor;
    const double *steps;  /* [step_count][inputs], what is done to a row first */
    const int32_t *kinds; /* [step_count]: 0 fill what is missing, 1 subtract, 2 divide, 3 multiply, 4 add */
    int64_t step_count;
    double above; /* a category has a code above this, which is cut to a whole number */
} Forest;

#define INLINE static inline __attribute__((always_inline))

INLINE int32_t next(const Forest *f, const Node *n, double x, const int categorical) {
    if (categorical && n->set >= 0) {
        if (x != x) return n->child + n->missing;
        if (!(x > f->above && x < n->words * 32.0)) return n->child + 1;
        int32_t code = (int32_t)x;
        return n->child + !((f->sets[n->set + (code >> 5)] >> (code & 31)) & 1u);
    }
    return n->child + ((x > n->threshold) | ((x != x) & n->missing));
}

INLINE void add(const Forest *f, int32_t tree, int32_t leaf, double *sums) {
    if (f->width == 1) {
        double *sum = sums + f->targets[tree];
        *sum += f->values[leaf];
        if (f->single_sums) *sum = (float)*sum;
        return;
    }
    for (int32_t k = 0; k < f->width; k++) sums[k] += f->values[(int64_t)leaf * f->width + k];
}

INLINE void finish(const Forest *f, double *out) {
    if (f->divide != 1.0)
        for (int32_t k = 0; k < f->outputs; k++) out[k] /= f->divide;
    switch (f->link) {
    case 1:
    case 5:
        for (int32_t k = 0; k < f->outputs; k++) out[k] = 1.0 / (1.0 + exp(-f->factor * out[k]));
        break;
    case 2: {
        double most = out[0], sum = 0.0;
        for (int32_t k = 1; k < f->outputs; k++) most = out[k] > most ? out[k] : most;
        for (int32_t k = 0; k < f->outputs; k++) sum += out[k] = exp(out[k] - most);
        for (int32_t k = 0; k < f->outputs; k++) out[k] /= sum;
        break;
    }
    case 3:
        for (int32_t k = 0; k < f->outputs; k++) out[k] = exp(out[k]);
        break;
    case 4:
        for (int32_t k = 0; k < f->outputs; k++) {
            float x = -(float)out[k];
            out[k] = 1.0f / (expf(x < 88.7f ? x : 88.7f) + 1.0f + 1e-16f);
        }
    }
}

INLINE void walk_one(const Forest *f, const double *row, double *out, const int categorical) {
    const Node *nodes = f->nodes;
    int32_t tree = 0;
    for (int32_t k = 0; k < f->outputs; k++) out[k] = f->base[k];
    for (; tree + LANES <= f->trees; tree += LANES) {
        int32_t at[LANES], deepest = 0;
        for (int k = 0; k < LANES; k++) {
            at[k] = f->roots[tree + k];
            deepest = f->depths[tree + k] > deepest ? f->depths[tree + k] : deepest;
        }
        for (int32_t d = 0; d < deepest; d++)
            for (int k = 0; k < LANES; k++) {
                const Node *n = nodes + at[k];
                at[k] = next(f, n, row[n->feature], categorical);
            }
        for (int k = 0; k < LANES; k++) add(f, tree + k, at[k], out);
    }
    for (; tree < f->trees; tree++) {
        int32_t at = f->roots[tree];
        for (int32_t d = 0; d < f->depths[tree]; d++) {
            const Node *n = nodes + at;
            at = next(f, n, row[n->feature], categorical);
        }
        add(f, tree, at, out);
    }
    finish(f, out);
}

INLINE void walk_rows(const Forest *f, const double *rows, int64_t count, double *out, const int categorical) {
    const int64_t inputs = f->inputs, outputs = f->outputs;
    for (int64_t r = 0; r < count; r++)
        for (int32_t k = 0; k < outputs; k++) out[r * outputs + k] = f->base[k];
    for (int32_t tree = 0; tree < f->trees; tree++) {
        const int32_t root = f->roots[tree], depth = f->depths[tree];
        int64_t r = 0;
        for (; r + LANES <= count; r += LANES) {
            int32_t at[LANES];
            const double *row = rows + r * inputs;
            for (int k = 0; k < LANES; k++) at[k] = root;
            for (int32_t d = 0; d < depth; d++)
                for (int k = 0; k < LANES; k++) {
                    const Node *n = f->nodes + at[k];
                    at[k] = next(f, n, row[k * inputs + n->feature], categorical);
                }
            for (int k = 0; k < LANES; k++) add(f, tree, at[k], out + (r + k) * outputs);
        }
        for (; r < count; r++) {
            int32_t at = root;
            for (int32_t d = 0; d < depth; d++) {
                const Node *n = f->nodes + at;
                at = next(f, n, rows[r * inputs + n->feature], categorical);
            }
            add(f, tree, at, out + r * outputs);
        }
    }
    for (int64_t r = 0; r < count; r++) finish(f, out + r * outputs);
}

INLINE void prepare(const Forest *f, double *row) {
    for (int64_t s = 0; s < f->step_count; s++) {
        const double *by = f->steps + s * f->inputs;
        switch (f->kinds[s]) {
        case 0:
            for (int32_t k = 0; k < f->inputs; k++) row[k] = row[k] != row[k] ? by[k] : row[k];
            break;
        case 1:
            for (int32_t k = 0; k < f->inputs; k++) row[k] -= by[k];
            break;
        case 2:
            for (int32_t k = 0; k < f->inputs; k++) row[k] /= by[k];
            break;
        case 3:
            for (int32_t k = 0; k < f->inputs; k++) row[k] *= by[k];
            break;
        case 4:
            for (int32_t k = 0; k < f->inputs; k++) row[k] += by[k];
        }
    }
}

/* One row, which may be prepared and rounded where it lies. */
void forest_one(const Forest *f, double *row, double *out) {
    prepare(f, row);
    if (f->single)
        for (int32_t k = 0; k < f->inputs; k++) row[k] = (float)row[k];
    if (f->categorical) walk_one(f, row, out, 1);
    else walk_one(f, row, out, 0);
}

/* Many rows, already prepared and rounded where the forest asks for it. */
void forest_many(const Forest *f, const double *rows, int64_t count, double *out) {
    for (int64_t r = 0; r < count; r += BLOCK) {
        const int64_t part = count - r < BLOCK ? count - r : BLOCK;
        if (f->categorical) walk_rows(f, rows + r * f->inputs, part, out + r * f->outputs, 1);
        else walk_rows(f, rows + r * f->inputs, part, out + r * f->outputs, 0);
    }
}
