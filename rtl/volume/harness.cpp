// Drives one verilated unit: all beats of all streams in C++, a clock cycle at a time, with or without stalls.
//
// streams.h is generated from the unit's spec and says what its streams are:
//   INPUTS(X), OUTPUTS(X)  X(index, VALID, READY, PAYLOAD) for each, the index counting inputs, then outputs
//   STREAMS                how many there are
//   WORDS, MOST_WORDS      32-bit words of a payload, by index, and of the widest
// The rules are those of the cocotb bench (rtl/cosim/bench.py): an input is offered and held until it is taken; an
// output that is offered must stay, unchanged, until it is taken; 32 quiet cycles follow the last beat.

#include <cstdint>
#include <cstring>

#include "Vunit.h"
#include "streams.h"
#include "verilated.h"
#ifdef WAVES
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr int64_t QUIET_CYCLES = 32;

// A payload of up to 64 bits is one C++ integer, a wider one an array of 32-bit words; least significant word first.
template <class T> void put(T& port, const uint32_t* words) {
    uint64_t value = words[0];
    if (sizeof(T) > 4) value |= static_cast<uint64_t>(words[1]) << 32;
    port = static_cast<T>(value);
}
template <class T> void get(const T& port, uint32_t* words) {
    words[0] = static_cast<uint32_t>(port);
    if (sizeof(T) > 4) words[1] = static_cast<uint32_t>(static_cast<uint64_t>(port) >> 32);
}
template <std::size_t N> void put(VlWide<N>& port, const uint32_t* words) { std::memcpy(port.data(), words, 4 * N); }
template <std::size_t N> void get(const VlWide<N>& port, uint32_t* words) { std::memcpy(words, port.data(), 4 * N); }

// splitmix64.
struct Random {
    uint64_t state;
    uint64_t next() {
        uint64_t z = (state += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    int below(int n) { return static_cast<int>((next() >> 33) % n); }
};

// Pauses in stretches of one rate, in tenths: none, some, nearly always; and at times `ready` only after `valid`.
struct Stalls {
    Random random;
    bool stall;
    int left = 0, rate = 0;
    bool patient = false;
    bool pause(bool offered) {
        if (!stall) return false;
        if (left && patient && !offered) return true;
        if (!left) {
            static constexpr int RATES[] = {0, 3, 5, 9};
            left = 1 + random.below(48);
            rate = RATES[random.below(4)];
            patient = random.below(10) < 3;
        }
        --left;
        return random.below(10) < rate;
    }
};

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

extern "C" {
// One stream of a run. Inputs: beats to offer. Outputs: room for beats that come, more than `count` of them.
struct Stream {
    uint32_t* payload;
    int64_t* cycles;  // cycle in which each beat moved
    int64_t count;    // beats due
    int64_t room;     // beats that payload and cycles can hold
    int64_t moved;
};
struct Run {
    int64_t cycles;
    int64_t protocol_errors;
    int64_t error_cycle;   // of the first one
    int32_t error_stream;  // its index
    int32_t hang;          // 1: no handshake for `patience` cycles
};
}

// Resets the unit and moves all beats. `seed` 0: nobody stalls. With WAVES and a file, a VCD of cycles [from, to).
API void unit_run(Stream* streams, Run* run, uint64_t seed, int64_t patience, const char* waves, int64_t from,
                  int64_t to) {
    VerilatedContext context;
#ifdef WAVES
    context.traceEverOn(true);
#endif
    Vunit top{&context};
#ifdef WAVES
    VerilatedVcdC trace;
    top.trace(&trace, 99);
    if (waves) trace.open(waves);
#define DUMP(half) \
    if (waves && cycle >= from && cycle < to) trace.dump(static_cast<uint64_t>(10 * cycle + 5 * (half)))
#else
#define DUMP(half)
#endif
    *run = Run{};
    Stalls stalls[STREAMS];
    for (int n = 0; n < STREAMS; ++n) {
        stalls[n] = Stalls{Random{seed * 1000003 + n}, seed != 0};
        streams[n].moved = 0;
    }
    bool offering[STREAMS] = {}, waiting[STREAMS] = {};
    uint32_t now[MOST_WORDS], held[STREAMS][MOST_WORDS];

#define QUIET_IN(n, VALID, READY, PAYLOAD) top.VALID = 0;
#define QUIET_OUT(n, VALID, READY, PAYLOAD) top.READY = 0;
    INPUTS(QUIET_IN)
    OUTPUTS(QUIET_OUT)
    top.rst = 1;
    for (int n = 0; n < 2; ++n) {
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    }
    top.rst = 0;

    int64_t last_move = 0;
    for (int64_t cycle = 0;; ++cycle) {
        run->cycles = cycle;
        top.clk = 0;
#define DRIVE_IN(n, VALID, READY, PAYLOAD)                                                   \
    if (!offering[n]) {                                                                      \
        offering[n] = streams[n].moved < streams[n].count && !stalls[n].pause(true);         \
        top.VALID = offering[n];                                                             \
        if (offering[n]) put(top.PAYLOAD, streams[n].payload + WORDS[n] * streams[n].moved); \
    }
#define DRIVE_OUT(n, VALID, READY, PAYLOAD) top.READY = !stalls[n].pause(waiting[n]);
        INPUTS(DRIVE_IN)
        OUTPUTS(DRIVE_OUT)
        top.eval();
        DUMP(0);

        bool moved = false, done = true;
#define BROKEN(n)                      \
    {                                  \
        if (!run->protocol_errors++) { \
            run->error_cycle = cycle;  \
            run->error_stream = n;     \
        }                              \
    }
#define SAMPLE_IN(n, VALID, READY, PAYLOAD)            \
    if (offering[n] && top.READY) {                    \
        streams[n].cycles[streams[n].moved++] = cycle; \
        offering[n] = false;                           \
        moved = true;                                  \
    }                                                  \
    done &= streams[n].moved >= streams[n].count;
#define SAMPLE_OUT(n, VALID, READY, PAYLOAD)                                                      \
    if (top.VALID) {                                                                              \
        get(top.PAYLOAD, now);                                                                    \
        if (waiting[n] && std::memcmp(now, held[n], 4 * WORDS[n])) BROKEN(n)                      \
        std::memcpy(held[n], now, 4 * WORDS[n]);                                                  \
        waiting[n] = !top.READY;                                                                  \
        if (top.READY) {                                                                          \
            if (streams[n].moved < streams[n].room) {                                             \
                std::memcpy(streams[n].payload + WORDS[n] * streams[n].moved, now, 4 * WORDS[n]); \
                streams[n].cycles[streams[n].moved] = cycle;                                      \
            }                                                                                     \
            ++streams[n].moved;                                                                   \
            moved = true;                                                                         \
        }                                                                                         \
    } else if (waiting[n]) {                                                                      \
        BROKEN(n)                                                                                 \
        waiting[n] = false;                                                                       \
    }                                                                                             \
    done &= streams[n].moved >= streams[n].count;
        INPUTS(SAMPLE_IN)
        OUTPUTS(SAMPLE_OUT)

        top.clk = 1;
        top.eval();
        DUMP(1);
        if (moved) last_move = cycle;
        if (done && cycle - last_move >= QUIET_CYCLES) break;
        if (!done && cycle - last_move > patience) {
            run->hang = 1;
            break;
        }
        if (waves && cycle >= to) break;
    }
    top.final();
#ifdef WAVES
    if (waves) trace.close();
#endif
}
