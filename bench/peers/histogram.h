/* Latencies in buckets of 256 ns: one shift and one increment a sample. */
#ifndef KIO_BENCH_HISTOGRAM_H
#define KIO_BENCH_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

#define HISTOGRAM_SHIFT 8
#define HISTOGRAM_BUCKETS (1u << 22) /* the last one holds all above 1.07 s */

struct histogram {
	uint64_t count;
	uint32_t buckets[HISTOGRAM_BUCKETS];
};

static inline void histogram_clear(struct histogram *histogram)
{
	memset(histogram, 0, sizeof(*histogram));
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns)
{
	uint64_t bucket = ns >> HISTOGRAM_SHIFT;

	if (bucket >= HISTOGRAM_BUCKETS)
		bucket = HISTOGRAM_BUCKETS - 1;
	histogram->buckets[bucket]++;
	histogram->count++;
}

/* The bucket that holds this fraction of all samples. */
static inline uint32_t histogram_bucket(const struct histogram *histogram,
					double fraction)
{
	double wanted = (double)histogram->count * fraction;
	uint64_t seen = 0;
	uint32_t bucket = 0;

	while (bucket < HISTOGRAM_BUCKETS - 1) {
		seen += histogram->buckets[bucket];
		if ((double)seen >= wanted)
			break;
		bucket++;
	}
	return bucket;
}

/* Its middle. */
static inline double histogram_us(const struct histogram *histogram,
				  double fraction)
{
	return ((double)histogram_bucket(histogram, fraction) + 0.5) *
	       (1 << HISTOGRAM_SHIFT) / 1000.0;
}

#endif
