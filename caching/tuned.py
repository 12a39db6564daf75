"""Every constant that was tuned, not derived. Code reads them as `tuned.NAME`.

`python tests/benchmarks/tune.py NAME` samples the tiny models with each value in `TRIED` and prints what it
changes; each constant says what values outside that range do. All are ours.
"""

from __future__ import annotations

LASTING_SHARE = 0.2
"""Share (of an rms error) of a window's error that the residual correction leaves. Below 0.05 plans trust the
correction with windows that end before it works; above 0.5 they no longer use it."""

MAX_DAMPING = 1.2
"""Most of a line's rise that a reused step follows (1 is the whole line). Below 1 a line that fits is cut
off; above 1.5 the noise of one calibration sample is followed."""

EARLY_AMPLIFICATION = 3.0
"""How many times more than at the end of the sampling a plan minds an error at its start, less 1. At 0 the
worst clips end several dB further off; above 6 the end of the run is starved."""

VARIANCE = 32.0
"""Variance of clean latents, 1 in the mean, in the directions in which forecasts err: what the sampling is
predicted to make of early errors follows from it. Below 8 predictions are too low, above 100 too high."""

SAMPLER_PULL = 0.4
"""How fast the pull towards another clip grows with what the sampler makes of errors. At 0 predictions with
uni_pc and dpmpp_2m are up to 20 times too low; at 1 they are up to 10 times too high."""

ANOTHER_CLIP = 0.8
"""Rms difference of the finished latents, whose size is about 1, at which a clip is another one. Below 0.5
and above 1 fewer predictions for multistep samplers are near the real error."""

MOSTLY_NOISE = 0.9
"""Share of noise in the latent (0 to 1) down to which residuals are corrected. Below 0.8 the network has
removed the error by itself, and the correction adds it again; at 1 nothing is corrected."""

UNRELIABLE = 0.05
"""Lasting error (rms of the finished latent) of the best plan above which outputs are held, not extended
along a line. Below 0.03 lines that still help are given up; above 0.09 lines go astray on CogVideoX."""

MOST_CORRECTED_GAIN = 0.06
"""Gain of the sampler above Euler's, times a step's length (the whole progress is 1), up to which residuals
are corrected. At 0 dpmpp_2m with 50 steps ends further off; from 0.1 on its worst clips with 20 go astray."""

NOISE_ANSWER = 0.5
"""Change of the denoised latent (rms) per fresh noise in the network's input: what a held output misses where
the sampler adds noise. Measured on the tiny models: 0.3 to 0.8, whatever the step and the prompt. At 0 plans
reuse as if no noise came; at 1 epsilon leaves such samplers little."""

UNUSUAL_MOVE = 2.0
"""How many times further than in calibration a latent may move before that counts as an error. Below 1.5
guidance and prompts alone exceed it; above 3 samplers that add noise are reused too boldly."""

WISHED_LIMIT = 0.05
"""Predicted error (rms of the finished latent) up to which a run with a wished speed-up keeps to its plan
when the latent moves unusually far. At 0 clips that move a little more miss the wish; above 0.1 nothing is
guarded."""

UNKNOWN_CLIP = 4.0
"""How many times further off than the table says forecasts are expected to be at the start of a run. At 1 the
first window is long and hard clips go wrong in it; above 10 too much is spent before anything is known."""

SURPRISE_LASTS = 0.15
"""Part of the sampling (0 to 1) after which the logarithm of a surprise has faded to a third. Below 0.05 hard
clips are computed no more often than easy ones; above 0.4 they are short of evaluations at the end."""

LARGEST_SURPRISE = 20.0
"""Most times further off than the table says that a forecast counts as. Below 5 hard clips are not told from
middling ones; above 50 nothing changes any more."""

SMALLEST_MISS = 0.005
"""Error of a forecast (rms of an output of about 1) below which rounding hides how far off it really is.
Below 0.002 half precision looks like a hard clip; above 0.03 hard clips are seen too late."""

SAME_SURPRISE = 1.25
"""Ratio of the seen to the expected up to which the plan is kept. At 1 it is made anew at every output for
nothing; above 2 it follows too late."""

UNSETTLED_SHARE = 1 / 3
"""Share of epsilon that counts under the joint rule until the forecast has all the outputs that it extends.
At 1 the first reuse errs most; at 0 the second evaluation is always computed."""

TRIED = {
    "LASTING_SHARE": (0.05, 0.1, 0.2, 0.35, 0.5),
    "MAX_DAMPING": (0.8, 1.0, 1.2, 1.5),
    "EARLY_AMPLIFICATION": (0.0, 1.5, 3.0, 6.0),
    "VARIANCE": (8.0, 16.0, 32.0, 64.0),
    "SAMPLER_PULL": (0.0, 0.2, 0.4, 0.6),
    "ANOTHER_CLIP": (0.5, 0.8, 1.2),
    "MOSTLY_NOISE": (0.8, 0.9, 0.95, 1.0),
    "UNRELIABLE": (0.03, 0.05, 0.09),
    "MOST_CORRECTED_GAIN": (0.0, 0.06, 0.1),
    "NOISE_ANSWER": (0.0, 0.3, 0.5, 1.0),
    "UNUSUAL_MOVE": (1.5, 2.0, 3.0),
    "WISHED_LIMIT": (0.0, 0.01, 0.05, 0.1),
    "UNKNOWN_CLIP": (1.0, 2.0, 4.0, 8.0),
    "SURPRISE_LASTS": (0.08, 0.15, 0.3),
    "LARGEST_SURPRISE": (5.0, 20.0, 60.0),
    "SMALLEST_MISS": (0.002, 0.005, 0.02),
    "SAME_SURPRISE": (1.1, 1.25, 2.0),
    "UNSETTLED_SHARE": (0.0, 1 / 3, 1.0),
}
