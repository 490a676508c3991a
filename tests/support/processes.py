"""Processes that are not forked of a test's, whose threads, locks and pipes they would hold."""

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
# imported once, not by every process
CONTEXT.set_forkserver_preload(["eutectic.train.loop", "eutectic.sweeps.worker"])
