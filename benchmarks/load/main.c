/* The load generator: drives both ends of circuits through any libp2p circuit-relay-v2 relay (TCP, Noise,
 * yamux), or through the C reference, from one thread, and prints what the relay's process spent. See
 * usage(). */
#include "conn.h"
#include "measure.h"
#include "stream.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const char usage[] =
    "usage: load bulk|rtt|circuits|conns|idle --relay HOST:PORT --pid PID [OPTIONS]\n"
    "  --reference        the relay is the C reference\n"
    "  --cpu N            run on this CPU only\n"
    "  --pairs N          pairs of connections (1)      --circuits N  circuits over them (1)\n"
    "  --frame BYTES      payload of a frame or of a round trip (65507)\n"
    "  --both             bulk in both directions\n"
    "  --beside BYTES     rtt: frames of this size in bulk on a second circuit\n"
    "  --warmup S (0.3)   --seconds S (1)\n"
    "  --window BYTES     fixed receive windows; else they grow to 16 MiB as go's do\n"
    "  --lowat BYTES      TCP_NOTSENT_LOWAT of our sockets\n"
    "  --one-send         a send for each Noise message\n"
    "  --spin             rtt: poll instead of sleeping\n"
    "  --count N (10000)  --depth N (16): how many circuits or connections, how many at once (circuits: on "
    "each pair)\n"
    "  --sources N        source addresses from 127.0.0.1 up (1)\n"
    "  --identify         conns: identify both ways\n";

enum {
    RELAY = 256,
    PID,
    REFERENCE,
    CPU,
    PAIRS,
    CIRCUITS,
    FRAME,
    BOTH,
    BESIDE,
    WARMUP,
    SECONDS,
    WINDOW,
    LOWAT,
    ONE_SEND,
    SPIN,
    COUNT,
    DEPTH,
    SOURCES,
    IDENTIFY
};

static const struct option known[] = {
    {"relay", 1, 0, RELAY},         {"pid", 1, 0, PID},
    {"reference", 0, 0, REFERENCE}, {"cpu", 1, 0, CPU},
    {"pairs", 1, 0, PAIRS},         {"circuits", 1, 0, CIRCUITS},
    {"frame", 1, 0, FRAME},         {"both", 0, 0, BOTH},
    {"beside", 1, 0, BESIDE},       {"warmup", 1, 0, WARMUP},
    {"seconds", 1, 0, SECONDS},     {"window", 1, 0, WINDOW},
    {"lowat", 1, 0, LOWAT},         {"one-send", 0, 0, ONE_SEND},
    {"spin", 0, 0, SPIN},           {"count", 1, 0, COUNT},
    {"depth", 1, 0, DEPTH},         {"sources", 1, 0, SOURCES},
    {"identify", 0, 0, IDENTIFY},   {0, 0, 0, 0},
};

static void set_relay(char *text) {
    char *colon = strrchr(text, ':');

    options.relay.sin_family = AF_INET;
    if (!colon)
        die("--relay is HOST:PORT");
    *colon = 0;
    if (inet_pton(AF_INET, text, &options.relay.sin_addr) != 1)
        die("--relay: %s is no IPv4 address", text);
    options.relay.sin_port = htons((uint16_t)atoi(colon + 1));
}

static void set_cpu(int cpu) {
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        die("cannot run on CPU %d", cpu);
}

static plan parse(int argc, char **argv) {
    plan p = {.pairs = 1,
              .circuits = 1,
              .frame = 65507,
              .warmup = 0.3,
              .seconds = 1,
              .count = 10000,
              .depth = 16,
              .sources = 1};

    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case RELAY:
            set_relay(optarg);
            break;
        case PID:
            p.relay = atoi(optarg);
            break;
        case REFERENCE:
            p.reference = 1;
            break;
        case CPU:
            set_cpu(atoi(optarg));
            break;
        case PAIRS:
            p.pairs = atoi(optarg);
            break;
        case CIRCUITS:
            p.circuits = atoi(optarg);
            break;
        case FRAME:
            p.frame = strtoul(optarg, NULL, 10);
            break;
        case BOTH:
            p.both_ways = 1;
            break;
        case BESIDE:
            p.beside = strtoul(optarg, NULL, 10);
            break;
        case WARMUP:
            p.warmup = atof(optarg);
            break;
        case SECONDS:
            p.seconds = atof(optarg);
            break;
        case WINDOW:
            fixed_window = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case LOWAT:
            options.lowat = atoi(optarg);
            break;
        case ONE_SEND:
            options.one_send_a_message = 1;
            break;
        case SPIN:
            p.spin = 1;
            break;
        case COUNT:
            p.count = atoi(optarg);
            break;
        case DEPTH:
            p.depth = atoi(optarg);
            break;
        case SOURCES:
            p.sources = atoi(optarg);
            break;
        case IDENTIFY:
            p.identify = 1;
            break;
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (!options.relay.sin_port || !p.relay || p.pairs < 1 || p.circuits < 1 || p.frame < 1 || p.count < 1 ||
        p.depth < 1 || p.sources < 1)
        die("--relay and --pid are needed, and numbers of at least 1");
    return p;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(const plan *p);
    } measurements[] = {{"bulk", measure_bulk},
                        {"rtt", measure_rtt},
                        {"circuits", measure_circuits},
                        {"conns", measure_conns},
                        {"idle", measure_idle}};
    struct rlimit files;
    plan p;

    if (argc < 2) {
        fputs(usage, stderr);
        return 2;
    }
    p = parse(argc - 1, argv + 1);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    loop_init();
    conn_init();
    for (size_t i = 0; i < sizeof measurements / sizeof *measurements; i++)
        if (!strcmp(argv[1], measurements[i].name)) {
            measurements[i].run(&p);
            return 0;
        }
    fputs(usage, stderr);
    return 2;
}
