/* SPDX-License-Identifier: MIT */
#include "sim.h"
const struct sim_story sim_stories_answer[] = {{0}}, sim_stories_end[] = {{0}},
                       sim_stories_hello[] = {{0}}, sim_stories_operator[] = {{0}},
                       sim_stories_hostile[] = {{0}};
