"""As much of vllm as the engine uses, answered by a transformers model, one full pass a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, TypedDict

import torch

from bridgex.extract.loading import LoadedModel


class TokensPrompt(TypedDict):
    prompt_token_ids: list[int]


@dataclass
class SamplingParams:
    """Those settings that are known here, under vllm's names; another one is an error, as there."""

    temperature: float = 1.0
    max_tokens: int = 16
    stop: list[str] | None = None
    stop_token_ids: list[int] = field(default_factory=list)
    ignore_eos: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    include_stop_str_in_output: bool = False
    detokenize: bool = True

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError("max_tokens must be at least 1")
        if self.stop and not self.detokenize:
            raise ValueError("stop strings need detokenize")


class LLM:
    """Answers from the last model that was installed as fake.

    Attributes:
        given: what it was made with.
        calls: number of prompts in each call.
    """

    loaded: LoadedModel
    error: Exception | None = None

    def __init__(self, **given: Any) -> None:
        if LLM.error is not None:
            raise LLM.error
        self.given = given
        self.calls: list[int] = []
        self._longest = given["max_model_len"]

    def generate(
        self, prompts: list[TokensPrompt], sampling_params: list[SamplingParams], use_tqdm: bool = True
    ) -> list[Any]:
        assert not use_tqdm
        assert len(prompts) == len(sampling_params)
        self.calls.append(len(prompts))
        return [
            self._answer(prompt["prompt_token_ids"], given)
            for prompt, given in zip(prompts, sampling_params, strict=True)
        ]

    def _answer(self, ids: list[int], given: SamplingParams) -> Any:
        assert given.temperature == 0.0, "greedy"
        if len(ids) >= self._longest:
            raise ValueError(f"a prompt of {len(ids)} tokens leaves no room for another one in {self._longest}")
        said: list[int] = []
        steps: list[dict[int, Any]] = []
        reason = "length"
        while len(said) < given.max_tokens and len(ids) + len(said) < self._longest:
            logprobs = self._logprobs([*ids, *said])[-1]
            token = int(logprobs.argmax())
            said.append(token)
            steps.append(_told(logprobs, token, given.logprobs or 0))
            is_end = token in LLM.loaded.end_ids and not given.ignore_eos
            text = LLM.loaded.encoder.decode(said) if given.detokenize else ""
            if token in given.stop_token_ids or is_end or any(mark in text for mark in given.stop or []):
                reason = "stop"
                break
        prompt_logprobs = None
        if given.prompt_logprobs is not None:
            found = self._logprobs(ids)
            told = (_told(found[n], token, given.prompt_logprobs) for n, token in enumerate(ids[1:]))
            prompt_logprobs = [None, *told]
        output = SimpleNamespace(
            token_ids=said, logprobs=steps if given.logprobs is not None else None, finish_reason=reason
        )
        return SimpleNamespace(outputs=[output], prompt_logprobs=prompt_logprobs, prompt_token_ids=ids)

    @torch.inference_mode()
    def _logprobs(self, ids: list[int]) -> torch.Tensor:
        logits = LLM.loaded.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        return logits.double().log_softmax(dim=-1)


def _told(logprobs: torch.Tensor, token: int, count: int) -> dict[int, Any]:
    """The token asked about, and the likeliest ones beside it."""
    ids = [token, *logprobs.topk(count).indices.tolist()] if count else [token]
    return {number: SimpleNamespace(logprob=float(logprobs[number])) for number in ids}


def make_module(loaded: LoadedModel) -> ModuleType:
    """A module to stand in for vllm, around this model."""
    module = ModuleType("vllm")
    LLM.loaded, LLM.error = loaded, None
    module.LLM, module.SamplingParams, module.TokensPrompt = LLM, SamplingParams, TokensPrompt  # type: ignore[attr-defined]
    return module
