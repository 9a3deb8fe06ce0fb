/* SPDX-License-Identifier: MIT */
/*
 * sim                       stories, sweep and 2,000 random runs
 * sim --stories | --sweep   only these
 * sim --rows                stories and random runs; which rows of transitions.def were used
 * sim --random N            N random runs
 * sim --seed N              one random run, with its trace
 * sim --story NAME          one story, with its trace; --list names them
 * sim --case WAY --cut K..  one run of the sweep, with its trace (sweep.c)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const struct sim_story *const chapters[] = {
    sim_stories_switchover, sim_stories_recovery, sim_stories_answer,
    sim_stories_end,        sim_stories_hello,    sim_stories_operator,
    sim_stories_hostile,    sim_stories_forged,   sim_stories_oneway,
};
#define CHAPTERS (sizeof(chapters) / sizeof(*chapters))

static bool tell(const struct sim_story *story, bool trace)
{
    struct sim_options options = story->options;
    struct sim *sim;
    bool failed;

    options.trace = true;
    sim = sim_new(&options);
    story->tell(sim);
    failed = sim->failed;
    if (trace || failed)
        fputs(sim->trace ? sim->trace : "", stdout);
    if (failed)
        printf("FAILED: %s: %s\n    replay: sim --story %s\n", story->name, sim->failure,
               story->name);
    else if (trace)
        printf("ok\n");
    sim_free(sim);
    return !failed;
}

static int tell_all(const char *only, bool list)
{
    unsigned told = 0, failed = 0;

    for (size_t i = 0; i < CHAPTERS; i++)
        for (const struct sim_story *story = chapters[i]; story->name; story++) {
            if (only && strcmp(only, story->name) != 0)
                continue;
            told++;
            if (list)
                printf("%s\n", story->name);
            else
                failed += !tell(story, only != NULL);
        }
    if (only && !told)
        fprintf(stderr, "no such story: %s (--list names them)\n", only);
    if (!only && !list)
        printf("stories: %u told, %u failed\n", told, failed);
    return failed || !told;
}

int main(int argc, char **argv)
{
    const char *way = NULL, *cut = NULL;
    int result = 0;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--stories") == 0)
            return tell_all(NULL, false);
        if (strcmp(argv[i], "--list") == 0)
            return tell_all(NULL, true);
        if (strcmp(argv[i], "--sweep") == 0)
            return sim_sweep();
        if (strcmp(argv[i], "--rows") == 0)
            return tell_all(NULL, false) | sim_random_runs(1, 20000, false) | sim_report_rows();
        if (strcmp(argv[i], "--story") == 0 && value)
            return tell_all(value, false);
        if (strcmp(argv[i], "--random") == 0 && value)
            return sim_random_runs(1, strtoull(value, NULL, 10), false);
        if (strcmp(argv[i], "--seed") == 0 && value)
            return sim_random_runs(strtoull(value, NULL, 10), 1, true);
        if (strcmp(argv[i], "--case") == 0 && value)
            way = argv[++i];
        else if (strcmp(argv[i], "--cut") == 0 && value)
            cut = argv[++i];
        else {
            fprintf(
                stderr,
                "usage: sim [--stories | --list | --story NAME | --sweep | --rows | --random N | "
                "--seed N | --case WAY [--cut CUTS]]\n");
            return 2;
        }
    }
    if (way)
        return sim_sweep_one(way, cut);
    result |= tell_all(NULL, false);
    result |= sim_sweep();
    result |= sim_random_runs(1, 2000, false);
    return result;
}
