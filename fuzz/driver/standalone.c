/* Runs a fuzz target without libFuzzer: every file of the given corpus as it is, then random changes to them,
 * the same in every run with the same seed.
 *
 *   TARGET [-runs=N] [-seed=N] [FILE or DIRECTORY]...
 */
#include "../target.h"

#include <dirent.h>
#include <sys/stat.h>

enum { INPUTS = 1024, INPUT_MAX = 8192 };

typedef struct {
    uint8_t *p;
    size_t n;
} input;

static input inputs[INPUTS];
static size_t inputs_n;
static uint64_t state = 1;

static uint64_t next_random(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dU;
}

static size_t below(size_t n) {
    return n == 0 ? 0 : (size_t)(next_random() % n);
}

/* Hands the target a copy that ends where its allocation ends. */
static void run(const uint8_t *p, size_t n) {
    uint8_t *copy = malloc(n == 0 ? 1 : n);
    EXPECT(copy != NULL);
    if (n != 0)
        memcpy(copy, p, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static void load_file(const char *path) {
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(INPUT_MAX);
    if (f == NULL || p == NULL || inputs_n == INPUTS) {
        fprintf(stderr, "can't read %s\n", path);
        exit(2);
    }
    inputs[inputs_n++] = (input){p, fread(p, 1, INPUT_MAX, f)};
    fclose(f);
}

static void load(const char *path) {
    struct stat s;
    if (stat(path, &s) != 0 || !S_ISDIR(s.st_mode)) {
        load_file(path);
        return;
    }
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char name[4096];
        if (e->d_name[0] == '.' || snprintf(name, sizeof name, "%s/%s", path, e->d_name) >= (int)sizeof name)
            continue;
        load_file(name);
    }
    if (d != NULL)
        closedir(d);
}

/* Changes buf in one random way and returns its new length. */
static size_t mutate(uint8_t *buf, size_t n) {
    static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    size_t at = below(n), length;
    const input *other = &inputs[below(inputs_n)];
    switch (next_random() % 7) {
    case 0: /* flip a bit */
        if (n != 0)
            buf[at] ^= (uint8_t)(1 << below(8));
        return n;
    case 1: /* a byte at the edge of its range */
        if (n != 0)
            buf[at] = edges[below(sizeof edges)];
        return n;
    case 2: /* a small change */
        if (n != 0)
            buf[at] = (uint8_t)(buf[at] + below(9) - 4);
        return n;
    case 3: /* cut the end */
        return at;
    case 4: /* cut from the middle */
        length = below(n - at + 1);
        memmove(buf + at, buf + at + length, n - at - length);
        return n - length;
    case 5: /* insert a byte */
        if (n == INPUT_MAX)
            return n;
        memmove(buf + at + 1, buf + at, n - at);
        buf[at] = (uint8_t)next_random();
        return n + 1;
    default: /* the rest of another input */
        length = other->n - below(other->n + 1);
        length = length < INPUT_MAX - at ? length : INPUT_MAX - at;
        if (length != 0)
            memcpy(buf + at, other->p + other->n - length, length);
        return at + length;
    }
}

int main(int argc, char **argv) {
    static uint8_t buf[INPUT_MAX];
    unsigned long runs = 10000;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-runs=", 6) == 0)
            runs = strtoul(argv[i] + 6, NULL, 10);
        else if (strncmp(argv[i], "-seed=", 6) == 0)
            state = strtoul(argv[i] + 6, NULL, 10) | 1;
        else
            load(argv[i]);
    }
    for (size_t i = 0; i < inputs_n; i++)
        run(inputs[i].p, inputs[i].n);
    if (inputs_n == 0)
        inputs[inputs_n++] = (input){calloc(1, 1), 0};
    for (unsigned long i = 0; i < runs; i++) {
        const input *from = &inputs[below(inputs_n)];
        size_t n = from->n;
        memcpy(buf, from->p, n);
        for (size_t changes = 1 + below(4); changes > 0; changes--)
            n = mutate(buf, n);
        run(buf, n);
    }
    printf("%zu inputs, %lu changed ones\n", inputs_n, runs);
    for (size_t i = 0; i < inputs_n; i++)
        free(inputs[i].p);
    return 0;
}
