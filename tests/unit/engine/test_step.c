/* SPDX-License-Identifier: MIT */
/*
 * Single steps: names, orders and their refusals in every state, and that no event whatever, in
 * whatever state, makes the engine do more than it has room for. Whole migrations are in tests/sim.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "engine/table.h"

static const uint64_t pages[1] = {70};
static uint64_t memory[6];
static struct pageset set;

static struct engine make(enum baton_role role, enum baton_status status)
{
    struct engine_config config = {.pages = &set, .nonce = {1}};
    struct engine engine;

    pageset_init(&set, pages, 1, memory);
    engine_init(&engine, &config);
    engine.role = role;
    engine.status = status;
    return engine;
}

static void every_name_is_there(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ENGINE_EVENT_COUNT; i++)
        assert_true(engine_event_name((enum engine_event_type)i)[0]);
    for (unsigned i = 0; i < ENGINE_ACTION_COUNT; i++)
        assert_true(engine_action_name((enum engine_action_type)i)[0]);
    for (unsigned i = 0; i < ENGINE_MESSAGE_COUNT; i++)
        assert_true(engine_message_name((enum engine_message)i)[0]);
    for (unsigned i = 0; i < BATON_STATUS_COUNT; i++)
        assert_true(baton_status_name((enum baton_status)i)[0]);
    assert_string_equal(baton_status_name(BATON_STATUS_POSTCOPY_RECOVER_SETUP),
                        "postcopy-recover-setup");
}

/* A refusal has a code and a sentence, and changes nothing; an acceptance has neither. */
static void orders_in_every_state(void **state)
{
    (void)state;
    for (unsigned role = BATON_ROLE_NONE; role <= BATON_ROLE_DEST; role++)
        for (unsigned s = 0; s < BATON_STATUS_COUNT; s++)
            for (unsigned e = 0; e <= ENGINE_EVENT_CONT; e++) {
                struct engine engine = make((enum baton_role)role, (enum baton_status)s);
                struct engine_event event = {.type = (enum engine_event_type)e};
                struct engine_out out;

                if (role == BATON_ROLE_NONE && s != BATON_STATUS_NONE)
                    continue;
                engine_step(&engine, &event, &out);
                assert_int_equal(engine.impossible, 0);
                assert_int_equal(out.verdict != 0, out.refusal[0] != '\0');
                if (out.verdict) {
                    assert_true(out.verdict == EBUSY || out.verdict == EPERM ||
                                out.verdict == EINVAL);
                    assert_int_equal(out.count, 0);
                    assert_int_equal(engine.status, s);
                }
            }
}

/* `cont` is accepted where engine_may_run() says so, and nowhere else. */
static void cont_asks_one_place(void **state)
{
    (void)state;
    for (unsigned role = BATON_ROLE_SOURCE; role <= BATON_ROLE_DEST; role++)
        for (unsigned s = 0; s < BATON_STATUS_COUNT; s++) {
            struct engine engine = make((enum baton_role)role, (enum baton_status)s);
            struct engine_event event = {.type = ENGINE_EVENT_CONT};
            struct engine_out out;
            char why[512];
            bool may = engine_may_run(&engine, why, sizeof(why));

            assert_int_equal(may, why[0] == '\0');
            engine_step(&engine, &event, &out);
            assert_int_equal(out.verdict == 0, may);
            assert_int_equal(engine.vm_running, may);
        }
}

static void cont_is_refused_where_two_would_run(void **state)
{
    static const enum baton_status handed_over[] = {
        BATON_STATUS_DEVICE,          BATON_STATUS_POSTCOPY_DEVICE,
        BATON_STATUS_POSTCOPY_ACTIVE, BATON_STATUS_POSTCOPY_PAUSED,
        BATON_STATUS_COMPLETED,       BATON_STATUS_POSTCOPY_RECOVER_SETUP,
        BATON_STATUS_CANCELLING,      BATON_STATUS_POSTCOPY_RECOVER};

    (void)state;
    for (size_t i = 0; i < sizeof(handed_over) / sizeof(*handed_over); i++) {
        struct engine engine = make(BATON_ROLE_SOURCE, handed_over[i]);

        assert_false(engine_may_run(&engine, NULL, 0));
    }
    for (unsigned s = 0; s < BATON_STATUS_COUNT; s++) {
        struct engine engine = make(BATON_ROLE_DEST, (enum baton_status)s);

        if (s != BATON_STATUS_COMPLETED)
            assert_false(engine_may_run(&engine, NULL, 0));
        engine.dest.started = true;
        assert_true(engine_may_run(&engine, NULL, 0));
    }
}

/* A late event of a link that is not ours does nothing, at the source in every state. */
static void strange_links_are_ignored(void **state)
{
    (void)state;
    for (unsigned s = 0; s < BATON_STATUS_COUNT; s++)
        for (unsigned e = ENGINE_EVENT_DIAL_FAILED + 1; e < ENGINE_EVENT_COUNT; e++) {
            struct engine engine = make(BATON_ROLE_SOURCE, (enum baton_status)s);
            struct engine_event event = {.type = (enum engine_event_type)e, .link = 7};
            struct engine_out out;

            engine.link = 9;
            if (e == ENGINE_EVENT_TIMEOUT)
                continue;
            engine_step(&engine, &event, &out);
            assert_int_equal(out.count, 0);
            assert_int_equal(engine.impossible, 0);
            assert_int_equal(engine.status, s);
        }
}

/* What our own threads cannot produce is counted, and costs the link and nothing else. */
static void impossible_costs_the_link_only(void **state)
{
    struct engine engine = make(BATON_ROLE_SOURCE, BATON_STATUS_POSTCOPY_ACTIVE);
    struct engine_event event = {.type = ENGINE_EVENT_PREPARED, .link = 9, .ok = true};
    struct engine_out out;

    (void)state;
    engine.link = 9;
    engine_step(&engine, &event, &out);
    assert_int_equal(engine.impossible, 1);
    assert_int_equal(out.count, 1);
    assert_int_equal(out.actions[0].type, ENGINE_ACTION_QUIESCE);
    assert_int_equal(engine.status, BATON_STATUS_POSTCOPY_ACTIVE);
}

/* A paused migration says why and what may be done, at both sides; nothing else explains. */
static void paused_explains_itself(void **state)
{
    char text[1024];

    (void)state;
    for (unsigned role = BATON_ROLE_SOURCE; role <= BATON_ROLE_DEST; role++) {
        struct engine engine = make((enum baton_role)role, BATON_STATUS_POSTCOPY_PAUSED);

        engine_explain(&engine, text, sizeof(text));
        assert_string_equal(text, "");
        engine.times.paused_since_ns = 1;
        strcpy(engine.reason, "the cable was cut");
        engine_explain(&engine, text, sizeof(text));
        assert_non_null(strstr(text, "the cable was cut."));
        assert_non_null(strstr(text, "baton recover"));
        engine_explain(&engine, text, 8);
        assert_int_equal(strlen(text), 7);
    }
}

static void may_quit_protects_the_vm(void **state)
{
    struct engine engine = make(BATON_ROLE_SOURCE, BATON_STATUS_POSTCOPY_PAUSED);

    (void)state;
    engine.source.run = ENGINE_RUN_LEFT;
    assert_false(engine_may_quit(&engine, NULL, 0));
    engine = make(BATON_ROLE_SOURCE, BATON_STATUS_COMPLETED);
    engine.source.run = ENGINE_RUN_KNOWN;
    assert_true(engine_may_quit(&engine, NULL, 0));
    engine = make(BATON_ROLE_DEST, BATON_STATUS_POSTCOPY_DEVICE);
    assert_true(engine_may_quit(&engine, NULL, 0));
    engine.dest.ready = true;
    assert_false(engine_may_quit(&engine, NULL, 0));
    engine.dest.started = true;
    assert_false(engine_may_quit(&engine, NULL, 0));
    engine.status = BATON_STATUS_COMPLETED;
    assert_true(engine_may_quit(&engine, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_there),
        cmocka_unit_test(orders_in_every_state),
        cmocka_unit_test(cont_asks_one_place),
        cmocka_unit_test(cont_is_refused_where_two_would_run),
        cmocka_unit_test(strange_links_are_ignored),
        cmocka_unit_test(impossible_costs_the_link_only),
        cmocka_unit_test(paused_explains_itself),
        cmocka_unit_test(may_quit_protects_the_vm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
