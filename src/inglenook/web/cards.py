# SPDX-License-Identifier: Apache-2.0
"""A job as the page shows it: one card. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inglenook.jobs.model import Job, JobError, JobState
from inglenook.web import words
from inglenook.web.pictures import PictureView, of_part

_IN_LINE = frozenset({JobState.QUEUED, JobState.WAITING})


@dataclass(frozen=True, slots=True)
class JobCard:
    """Attributes:
    state: of the job; `in_line` and `active` are read off it.
    chips: the parameters in a few words each.
    percent: 0 to 100, or None where no progress can be told.
    line: what happens now, in words; empty when it is over.
    detail: who is in the way, and what was done about it.
    pictures: what is finished and safe.
    wanted: how many there shall be in the end.
    width, height: pixels of each, so that there is room for it before it comes.
    seed: of the first, "" where it is not known.
    seq: number of the last event; a card with a lower one is older.
    """

    id: str
    state: JobState
    state_words: str
    prompt: str
    model: str
    chips: tuple[str, ...]
    percent: int | None
    line: str
    detail: str
    pictures: tuple[PictureView, ...]
    wanted: int
    width: int
    height: int
    seed: str
    error: JobError | None
    receipt: str
    notices: tuple[str, ...]
    created_at: str
    seq: int

    @property
    def active(self) -> bool:
        return self.in_line or self.state in (JobState.RUNNING, JobState.PAUSED)

    @property
    def in_line(self) -> bool:
        return self.state in _IN_LINE

    @property
    def layout(self) -> str:
        """One picture stands beside the words, several below them; in line there is none to show."""
        if not self.pictures and (self.in_line or not self.active):
            return "bare"
        return "single" if self.wanted == 1 else "many"

    @property
    def can_retry(self) -> bool:
        return self.state in (JobState.FAILED, JobState.INTERRUPTED, JobState.CANCELLED)

    @property
    def announcement(self) -> str:
        """One sentence for those who hear the page instead of seeing it."""
        if self.in_line:
            return self.line
        subject = f"“{self.prompt[:60]}” "
        if self.error is not None:
            return f"{subject}{self.state_words}: {self.error.message}"
        return f"{subject}is {self.state_words}."


def card_of(job: Job, *, waiting: Mapping[str, Any] | None = None, notices: Sequence[str] = ()) -> JobCard:
    """`waiting`: why it waits now (`runtime.Explanation` as JSON), where that is known."""
    asked = job.payload
    prompt = str(asked.get("plain_prompt") or asked.get("prompt") or job.title)
    parts = job.result.get("parts") or ()
    line, percent = _now(job, waiting)
    return JobCard(
        id=job.id,
        state=job.state,
        state_words=words.STATE_WORDS[job.state],
        prompt=prompt,
        model=str(asked.get("model") or ""),
        chips=chips_of(asked),
        percent=percent,
        line=line,
        detail=words.wait_detail(waiting) if job.state in _IN_LINE else "",
        pictures=tuple(of_part(part, prompt=prompt) for part in parts),
        wanted=len(asked.get("seeds") or (0,)),
        width=int(asked.get("out_width") or 1),
        height=int(asked.get("out_height") or 1),
        seed=str(next(iter(asked.get("seeds") or ()), "")),
        error=job.error,
        receipt="" if job.receipt is None else words.receipt_line(job.receipt),
        notices=tuple(dict.fromkeys([*(str(note) for note in asked.get("notes") or ()), *notices])),
        created_at=job.created_at.isoformat(),
        seq=job.event_seq,
    )


def _now(job: Job, waiting: Mapping[str, Any] | None) -> tuple[str, int | None]:
    if job.state in _IN_LINE:
        return words.wait_line(waiting), None
    if job.state is JobState.RUNNING:
        return words.running_line(job), words.percent(job.progress)
    if job.state is JobState.PAUSED:
        return "Paused; it goes on by itself", words.percent(job.progress)
    return "", None


def chips_of(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """What is drawn beyond the words, from the payload of the job (`images.request.Drawing`)."""
    seeds = [int(seed) for seed in asked.get("seeds") or ()]
    width, height = asked.get("out_width"), asked.get("out_height")
    steps, guidance, strength = asked.get("steps"), asked.get("guidance_scale"), asked.get("strength")
    chips = [
        words.count(len(seeds), "picture", "pictures") if len(seeds) > 1 else "",
        f"{width} × {height}" if width and height else "",
        str(asked.get("style") or ""),
        words.count(int(steps), "step", "steps") if steps is not None else "",
        f"guidance {float(guidance):g}" if guidance is not None else "",
        _seeds(seeds),
        words.join([str(asked.get("scheduler") or ""), str(asked.get("sigmas") or "")]),
        {"image": "from a picture", "inpaint": "inside a mask", "edit": "changed by words"}.get(
            str(asked.get("mode")), ""
        ),
        f"strength {float(strength):g}" if strength is not None else "",
        *(f"{it['model']} × {float(it['weight']):g}" for it in asked.get("loras") or ()),
        f"VAE {asked['vae']}" if asked.get("vae") else "",
        f"clip skip {asked['clip_skip']}" if asked.get("clip_skip") else "",
        "second pass" if asked.get("hires") else "",
        "transparent" if asked.get("transparent") else "",
        "by stable-diffusion.cpp" if asked.get("engine") == "sdcpp" else "",
    ]
    return tuple(chip for chip in chips if chip)


def _seeds(seeds: Sequence[int]) -> str:
    if not seeds:
        return ""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
