/* SPDX-License-Identifier: MIT */
/* A paused migration explains itself: why, and what may be done now by which side. What is missing
 * is counted by the caller. */
#include "base/text.h"
#include "engine/internal.h"

static void explain_source(const struct engine *engine, struct text *text)
{
    if (engine->status != BATON_STATUS_POSTCOPY_PAUSED) {
        text_str(text, " A recovery is under way.");
        return;
    }
    if (engine->source.run == ENGINE_RUN_KNOWN)
        text_str(text, " The VM runs at the destination with the pages it has; this side keeps all "
                       "pages and must not be ended.");
    else
        text_str(text, " It is not known whether the destination got the order to run the VM; this "
                       "side keeps everything and asks when the link is back.");
    if (engine->source.want_back)
        text_str(text,
                 " migrate_cancel is remembered: the destination will be asked to give the VM "
                 "back if it has not run it.");
    text_str(text, " Here: `baton migrate --resume` (migrate with resume) to any address where the "
                   "destination listens. At the destination: `baton recover` adds an address.");
}

static void explain_dest(const struct engine *engine, struct text *text)
{
    if (engine->status != BATON_STATUS_POSTCOPY_PAUSED) {
        text_str(text, " The source is back; a recovery is under way.");
        return;
    }
    if (engine->dest.started)
        text_str(text,
                 " The VM runs here; whoever needs a missing page waits. This side must not be "
                 "ended.");
    else
        text_str(text, " The VM has not run here: it waits for the source's word. "
                       "`migrate_cancel` here gives it back.");
    text_str(text, " It listens for the source to come back by itself; `baton recover` "
                   "(migrate-recover) adds an address.");
}

void engine_explain(const struct engine *engine, char *out, size_t out_bytes)
{
    struct text text;

    text_init(&text, out, out_bytes);
    if (!engine->times.paused_since_ns)
        return;
    text_str(&text, engine->reason[0] ? engine->reason : "paused");
    text_str(&text, ".");
    if (engine->role == BATON_ROLE_DEST)
        explain_dest(engine, &text);
    else
        explain_source(engine, &text);
}
