/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Writes a complete trace to standard output, without any library:
 *
 *     cc -o write_trace write_trace.c
 *     ./write_trace > example.pfmt
 *     pfmemd trace info example.pfmt
 *     pfmemd trace dump example.pfmt
 *
 * Its output is docs/examples/example.pfmt, byte for byte. For a little-endian machine;
 * a big-endian one has to swap the fields of struct record.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* One event of the packed form. */
struct record {
	uint64_t ts_ns;
	uint64_t handle;
	uint32_t gfp;
	uint32_t arg;
	uint16_t cpu;
	int16_t node;
	uint8_t op;
	uint8_t ctx;
	uint16_t zero;
};
_Static_assert(sizeof(struct record) == 32, "a record has no padding");

enum { PAGE_ALLOC = 1, PAGE_FREE, OBJ_ALLOC, OBJ_FREE, KMALLOC, REAP, SHRINK, MIN_FREE, MARK };
enum { PF_MEMALLOC = 1, SOFTIRQ = 4 };

/* As much of msgpack as a trace needs. */

static void put(const void *bytes, size_t size) { fwrite(bytes, 1, size, stdout); }
static void put_byte(int byte) { putchar(byte & 0xff); }
static void put_map(int count) { put_byte(0x80 | count); }     /* up to 15 */
static void put_array(int count) { put_byte(0x90 | count); }   /* up to 15 */
static void put_str(const char *s) { put_byte(0xa0 | strlen(s)); put(s, strlen(s)); } /* to 31 */

static void put_big_endian(uint64_t value, int bytes)
{
	while (bytes--)
		put_byte(value >> (8 * bytes));
}

static void put_uint(uint64_t value)
{
	if (value < 128) {
		put_byte(value);
	} else if (value <= UINT8_MAX) {
		put_byte(0xcc);
		put_big_endian(value, 1);
	} else if (value <= UINT16_MAX) {
		put_byte(0xcd);
		put_big_endian(value, 2);
	} else if (value <= UINT32_MAX) {
		put_byte(0xce);
		put_big_endian(value, 4);
	} else {
		put_byte(0xcf);
		put_big_endian(value, 8);
	}
}

static void put_any_node(void) { put_byte(0xff); }             /* -1 */

static void begin_batch(uint64_t seq)
{
	put_map(5);
	put_str("v");      put_uint(1);
	put_str("source"); put_str("example");
	put_str("epoch");  put_uint(1);
	put_str("seq");    put_uint(seq);
	/* and now the fifth pair: header, events or packed */
}

static void put_row(int op, uint64_t ts_ns, uint64_t handle, uint32_t gfp, uint32_t arg, int cpu,
		    int ctx)
{
	put_array(8);
	put_uint(op);
	put_uint(ts_ns);
	put_uint(handle);
	put_uint(gfp);
	put_uint(arg);
	put_uint(cpu);
	put_any_node();
	put_uint(ctx);
}

int main(void)
{
	/* The header opens the epoch: 64 MiB on one node, DMA up to 16 MiB, the rest DMA32. */
	begin_batch(1);
	put_str("header");
	put_map(5);
	put_str("machine");
	put_map(5);
	put_str("cpus");            put_uint(2);
	put_str("cpu_node");        put_array(2); put_uint(0); put_uint(0);
	put_str("nodes");           put_array(1); put_array(2); put_uint(0); put_uint(16384);
	put_str("zone_end_pfn");    put_array(3); put_uint(4096); put_uint(16384); put_uint(16384);
	put_str("min_free_kbytes"); put_uint(1024);
	put_str("caches");
	put_array(1);
	put_map(3);
	put_str("id");   put_uint(1);
	put_str("name"); put_str("skbuff_head_cache");
	put_str("size"); put_uint(232);
	put_str("labels"); put_array(1); put_str("server stalls");
	put_str("gfp");    put_str("v6.1");
	put_str("clock");  put_str("mono");

	/* Readable events: an skb by GFP_ATOMIC|__GFP_MEMALLOC in softirq, a page by GFP_KERNEL. */
	begin_batch(2);
	put_str("events");
	put_array(2);
	put_row(OBJ_ALLOC, 73800000000, 7, 0x20a20, 1, 0, SOFTIRQ);
	put_row(PAGE_ALLOC, 73800000850, 8, 0xcc0, 0, 1, PF_MEMALLOC);

	/* Packed events: an annotation, and the skb is freed. */
	struct record records[] = {
		{ .ts_ns = 73800000900, .op = MARK, .arg = 0, .node = -1 },
		{ .ts_ns = 73800001200, .op = OBJ_FREE, .handle = 7, .node = -1, .ctx = SOFTIRQ },
	};
	begin_batch(3);
	put_str("packed");
	put_byte(0xc4);                 /* binary of up to 255 bytes; 0xc6 and 4 bytes for more */
	put_byte(sizeof(records));
	put(records, sizeof(records));
	return 0;
}
