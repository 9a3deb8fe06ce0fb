/* SPDX-License-Identifier: MIT */
/* Who waits for what, and the histogram against exact percentiles. */
#include "harness.h"

static void waiters_come_and_go(void **state)
{
    const char *names[] = {"cpu 0", NULL, "a device whose name is far longer than the room"};
    struct waiters_entry entries[BATON_MAX_WAITERS];
    struct baton_error error = {0};
    struct waiters table;

    must(waiters_init(&table, 3, names, &error), &error);
    assert_int_equal(waiters_list(&table, entries), 0);
    waiters_begin(&table, 2, 1, 8 * PAGE, 100);
    waiters_begin(&table, 0, 0, 4 * PAGE, 150);
    waiters_begin(&table, 3, 0, 0, 0);
    assert_int_equal(waiters_list(&table, entries), 2);
    assert_int_equal(entries[0].waiter, 0);
    assert_string_equal(entries[0].name, "cpu 0");
    assert_int_equal(entries[0].offset, 4 * PAGE);
    assert_int_equal(entries[1].waiter, 2);
    assert_int_equal(entries[1].block, 1);
    assert_int_equal(entries[1].since_ns, 100);
    assert_int_equal(strlen(entries[1].name), 31);
    assert_int_equal(waiters_end(&table, 2, 175), 75);
    assert_int_equal(waiters_end(&table, 2, 200), 0);
    assert_int_equal(waiters_end(&table, 0, 140),
                     0); /* a clock that is read out of order is no wait of 2^64 */
    assert_int_equal(waiters_end(&table, 99, 1), 0);
    assert_int_equal(waiters_list(&table, entries), 0);
    waiters_begin(&table, 1, 0, 0, 0);
    assert_int_equal(waiters_list(&table, entries), 1);
    assert_string_equal(entries[0].name, "waiter 1");
    waiters_fini(&table);
    assert_int_equal(waiters_init(&table, BATON_MAX_WAITERS + 1, NULL, &error), -EINVAL);
}

struct shared {
    struct waiters table;
    struct latency latency;
    _Atomic unsigned left;
};

struct one {
    pthread_t thread;
    struct shared *shared;
    unsigned number;
};

static void *run_waiter(void *opaque)
{
    struct one *self = opaque;

    for (uint64_t i = 1; i <= 20000; i++) {
        waiters_begin(&self->shared->table, self->number, self->number, i * PAGE, i);
        latency_add(&self->shared->latency,
                    waiters_end(&self->shared->table, self->number, i + self->number));
    }
    atomic_fetch_sub(&self->shared->left, 1);
    return NULL;
}

static void a_list_is_of_one_instant(void **state)
{
    static struct shared shared;
    struct one threads[4];

    assert_int_equal(waiters_init(&shared.table, 4, NULL, NULL), 0);
    latency_init(&shared.latency);
    atomic_store(&shared.left, 4);
    for (unsigned i = 0; i < 4; i++) {
        threads[i] = (struct one){.shared = &shared, .number = i};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, run_waiter, &threads[i]), 0);
    }
    while (atomic_load(&shared.left)) {
        struct waiters_entry entries[BATON_MAX_WAITERS];
        unsigned count = waiters_list(&shared.table, entries);

        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(entries[i].block, entries[i].waiter);
            assert_int_equal(entries[i].offset, entries[i].since_ns * PAGE);
        }
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i].thread, NULL);
    assert_int_equal(latency_count(&shared.latency), 80000);
    assert_int_equal(latency_max(&shared.latency), 3);
    waiters_fini(&shared.table);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void percentiles_are_within_an_eighth(void **state)
{
    enum { COUNT = 5000 };
    static const unsigned per_mille[] = {1, 100, 500, 900, 990, 999, 1000};
    static uint64_t values[COUNT];
    static struct latency latency;
    unsigned seed = 7;

    latency_init(&latency);
    for (int i = 0; i < COUNT; i++) {
        values[i] =
            ((uint64_t)rand_r(&seed) << 16 ^ (uint64_t)rand_r(&seed)) >> (rand_r(&seed) % 40);
        latency_add(&latency, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare);
    for (size_t i = 0; i < sizeof(per_mille) / sizeof(per_mille[0]); i++) {
        uint64_t exact = values[(COUNT * per_mille[i] + 999) / 1000 - 1];
        uint64_t told = latency_percentile(&latency, per_mille[i]);

        assert_in_range(told, exact, exact + exact / 8);
    }
    assert_int_equal(latency_max(&latency), values[COUNT - 1]);
    assert_int_equal(latency_percentile(&latency, 1000), values[COUNT - 1]);
}

static void extreme_values_have_a_place(void **state)
{
    static struct latency latency;

    latency_init(&latency);
    assert_int_equal(latency_percentile(&latency, 500), 0);
    latency_add(&latency, 0);
    assert_int_equal(latency_percentile(&latency, 500), 0);
    latency_add(&latency, UINT64_MAX);
    assert_int_equal(latency_percentile(&latency, 1000), UINT64_MAX);
    assert_int_equal(latency_percentile(&latency, 500), 0);
    for (unsigned bit = 0; bit < 64; bit++) {
        latency_init(&latency);
        latency_add(&latency, 1ull << bit);
        assert_int_equal(latency_percentile(&latency, 500), 1ull << bit);
        latency_add(&latency, (1ull << bit) - 1);
        assert_int_equal(latency_count(&latency), 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiters_come_and_go),
        cmocka_unit_test(a_list_is_of_one_instant),
        cmocka_unit_test(percentiles_are_within_an_eighth),
        cmocka_unit_test(extreme_values_have_a_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
