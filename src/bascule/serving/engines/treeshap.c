/* What each input adds to what a forest says of a row: path-dependent TreeSHAP (Lundberg et al. 2020, Algorithm 2).

An input that is not known goes both ways at a node, weighted by how many training rows went there. What a tree asks for
may be made of an input, as a text's codes are: all that is made of one input is known together. */
#include <stdlib.h>
#include <string.h>

#include "forest.c"

typedef struct {
    double zero, one; /* which share of the ways goes on when the input is not known, and when it is */
    double weight;    /* of the sets of known inputs of one size */
    int32_t input;
} Part; /* of the way to a node: an input that was asked for on it */

typedef struct {
    const Forest *forest;
    const double *covers, *row;
    const int32_t *made_of; /* [forest's inputs]: the input that each is made of */
    double *out;            /* [outputs][inputs] */
    int32_t inputs, tree;
} Job;

static void extend(Part *way, int32_t depth, double zero, double one, int32_t input) {
    way[depth] = (Part){zero, one, depth == 0 ? 1.0 : 0.0, input};
    for (int32_t i = depth - 1; i >= 0; i--) {
        way[i + 1].weight += one * way[i].weight * (i + 1.0) / (depth + 1.0);
        way[i].weight = zero * way[i].weight * (double)(depth - i) / (depth + 1.0);
    }
}

static void unwind(Part *way, int32_t depth, int32_t at) {
    const double one = way[at].one, zero = way[at].zero;
    double next = way[depth].weight;
    for (int32_t i = depth - 1; i >= 0; i--)
        if (one != 0.0) {
            const double held = way[i].weight;
            way[i].weight = next * (depth + 1.0) / ((i + 1.0) * one);
            next = held - way[i].weight * zero * (double)(depth - i) / (depth + 1.0);
        } else {
            way[i].weight = way[i].weight * (depth + 1.0) / (zero * (double)(depth - i));
        }
    for (int32_t i = at; i < depth; i++) {
        way[i].input = way[i + 1].input;
        way[i].zero = way[i + 1].zero;
        way[i].one = way[i + 1].one;
    }
}

static double unwound(const Part *way, int32_t depth, int32_t at) {
    const double one = way[at].one, zero = way[at].zero;
    double next = way[depth].weight, total = 0.0;
    for (int32_t i = depth - 1; i >= 0; i--)
        if (one != 0.0) {
            const double held = next / ((i + 1.0) * one);
            total += held;
            next = way[i].weight - held * zero * (double)(depth - i);
        } else {
            total += way[i].weight / (zero * (double)(depth - i));
        }
    return total * (depth + 1.0);
}

static void share(const Job *job, const Part *way, int32_t depth, int32_t leaf) {
    const Forest *f = job->forest;
    for (int32_t i = 1; i <= depth; i++) {
        const double by = unwound(way, depth, i) * (way[i].one - way[i].zero);
        if (f->width == 1) {
            job->out[(int64_t)f->targets[job->tree] * job->inputs + way[i].input] += by * f->values[leaf];
            continue;
        }
        for (int32_t k = 0; k < f->width; k++)
            job->out[(int64_t)k * job->inputs + way[i].input] += by * f->values[(int64_t)leaf * f->width + k];
    }
}

/* Which share of the rows at a node went to a child; of a node that no row came to, as to the other one. */
static double went(const Job *job, int32_t node, int32_t child) {
    return job->covers[node] > 0.0 ? job->covers[child] / job->covers[node] : 0.5;
}

static void walk(const Job *job, int32_t node, const Part *before, int32_t depth, double zero, double one,
                 int32_t input) {
    Part *way = (Part *)before + depth + 1;
    const Node *n = job->forest->nodes + node;
    memcpy(way, before, depth * sizeof(Part));
    extend(way, depth, zero, one, input);
    if (n->child == node) {
        share(job, way, depth, node);
        return;
    }
    const int32_t asked = job->made_of[n->feature];
    const int32_t hot = next(job->forest, n, job->row[n->feature], 1), cold = 2 * n->child + 1 - hot;
    double known = 1.0, unknown = 1.0;
    for (int32_t i = 1; i <= depth; i++)
        if (way[i].input == asked) { /* it was asked for before */
            known = way[i].one;
            unknown = way[i].zero;
            unwind(way, depth--, i);
            break;
        }
    const double to_hot = unknown * went(job, node, hot), to_cold = unknown * went(job, node, cold);
    if (to_hot != 0.0 || known != 0.0) walk(job, hot, way, depth + 1, to_hot, known, asked);
    if (to_cold != 0.0) walk(job, cold, way, depth + 1, to_cold, 0.0, asked);
}

/* What the trees say when no input is known, added to [outputs]. `held` has room for one number a node. */
void forest_expected(const Forest *f, const double *covers, int64_t nodes, double *held, double *out) {
    for (int32_t k = 0; k < f->width; k++) {
        for (int64_t n = nodes - 1; n >= 0; n--) { /* children lie behind their parent */
            const int32_t child = f->nodes[n].child;
            if (child == n) held[n] = f->values[n * f->width + k];
            else {
                const double low = covers[n] > 0.0 ? covers[child] / covers[n] : 0.5;
                const double high = covers[n] > 0.0 ? covers[child + 1] / covers[n] : 0.5;
                held[n] = low * held[child] + high * held[child + 1];
            }
        }
        for (int32_t tree = 0; tree < f->trees; tree++)
            out[f->width == 1 ? f->targets[tree] : k] += held[f->roots[tree]];
    }
}

/* What the inputs of prepared and rounded rows add: [count][outputs][inputs], which begins as zeros.

Returns 0, or 1 where there is no memory for it. */
int32_t forest_shap(const Forest *f, const double *covers, const int32_t *made_of, int32_t inputs, const double *rows,
                    int64_t count, double *out) {
    int64_t deepest = 0;
    for (int32_t tree = 0; tree < f->trees; tree++) deepest = f->depths[tree] > deepest ? f->depths[tree] : deepest;
    const int64_t most = deepest < inputs ? deepest : inputs; /* inputs on one way */
    Part *ways = malloc((size_t)((deepest + 2) * (most + 3)) * sizeof(Part));
    if (ways == NULL) return 1;
    for (int64_t r = 0; r < count; r++) {
        Job job = {f, covers, rows + r * f->inputs, made_of, out + r * f->outputs * inputs, inputs, 0};
        for (; job.tree < f->trees; job.tree++) walk(&job, f->roots[job.tree], ways, 0, 1.0, 1.0, -1);
    }
    free(ways);
    return 0;
}
