"""Sampling with transformers' `generate`: under autocast, which is TRL's path, or with bf16 weights."""

import contextlib

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from .job import Clock, Job, read_job


def main() -> None:
    job = read_job()
    bf16_weights = job.precision == "bf16-weights"
    dtype = torch.bfloat16 if bf16_weights else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    autocast = job.precision == "bf16"
    how = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    torch.manual_seed(job.seed)
    clock = Clock(job)
    prompts = [e["prompt"] for e in job.examples()]
    at, done = 0, False
    with torch.inference_mode(), how:
        while not done:
            chosen = [prompts[(at + i) % len(prompts)] for i in range(job.batch) for _ in range(job.samples)]
            at += job.batch
            done = clock.lap(len(chosen), generated(model, tokenizer, chosen, job))
    clock.finish()


def generated(model: torch.nn.Module, tokenizer: object, prompts: list[list[int]], job: Job) -> int:
    """Answer left-padded prompts and return how many tokens were written, EOS included, padding not."""
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")  # type: ignore[attr-defined]
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id  # type: ignore[attr-defined]
    config = GenerationConfig(
        max_new_tokens=job.max_completion_length,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    out = model.generate(**batch, generation_config=config)  # type: ignore[operator]
    answers = out[:, batch["input_ids"].shape[1] :]
    ended = (answers == eos).int()
    return int((ended.cumsum(1) - ended == 0).sum())


if __name__ == "__main__":
    main()
