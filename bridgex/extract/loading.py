"""From a model's settings to a model that can be asked: weights, tokenizer, dtype, and exactly one BOS."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from bridgex.config.agreement import adapter_problems
from bridgex.config.settings import ModelSettings
from bridgex.data.sources import toy_world
from bridgex.errors import UserError
from bridgex.extract import packing
from bridgex.extract.hub import find_model, fingerprint, weight_files
from bridgex.extract.model_config import code_line, first_line, needs_code, read_config
from bridgex.extract.random_model import make_random_model

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# A weight in 4 bits, and its share of the scale that 64 of them have in common.
_QUANTIZED_BYTES = {"8bit": 1, "4bit": 0.5 + 4 / 64}

AttentionInterface.register(packing.ATTENTION, packing.attend)
transformers_logging.disable_progress_bar()  # the terminal shows the run's own bar only


@dataclass(frozen=True)
class Encoder:
    """Turns prompts into token ids and back.

    Attributes:
        tokenizer: the model's own.
        prefix: ids that its tokenizer puts in front of a text; at most one BOS.
        uses_chat_template: whether prompts go through the chat template.
        system_prompt: system message, with the chat template only.
    """

    tokenizer: PreTrainedTokenizerBase
    prefix: tuple[int, ...]
    uses_chat_template: bool
    system_prompt: str | None

    def text(self, prompt: str) -> str:
        """What the model is given for a prompt: the prompt itself, or a chat that ends where the answer begins."""
        if not self.uses_chat_template:
            return prompt
        bos = self.tokenizer.bos_token
        text = self._chat(prompt)
        return text.removeprefix(bos) if isinstance(bos, str) else text

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a prompt, with exactly one BOS where the tokenizer or its chat template uses one."""
        return self.encode_given(self.text(prompt))

    def encode_given(self, text: str) -> list[int]:
        """Token ids of what the model is given, the chat template applied, with the BOS in front."""
        ids = [*self.prefix, *self._plain(text)]
        bos = self.tokenizer.bos_token_id
        if bos in self.prefix:
            assert ids[0] == bos, "the BOS stands first"
            assert len(ids) == 1 or ids[1] != bos, "the BOS stands once"
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def notes(self) -> list[str]:
        """What a reader of results must know of the way in which prompts are given."""
        bos = self.tokenizer.bos_token_id
        found = [
            "prompts go through the model's chat template"
            if self.uses_chat_template
            else "prompts are given as they are",
            "one BOS in front" if bos is not None and bos in self.prefix else "no BOS: the tokenizer puts none",
        ]
        if self.uses_chat_template and self.system_prompt is not None and not self.takes_system_prompt:
            found.append("model.system_prompt stands before the prompt: the chat template takes no system message")
        return found

    @cached_property
    def takes_system_prompt(self) -> bool:
        """Whether the chat template shows a system message; some refuse it, some leave it out."""
        mark = "system-message"
        try:
            return mark in self._render([{"role": "system", "content": mark}, {"role": "user", "content": "prompt"}])
        except Exception:  # templates are programs of their own, which raise what they like
            return False

    def _chat(self, prompt: str) -> str:
        """One user's message and the beginning of the answer, with whatever BOS the template puts."""
        if self.system_prompt is None:
            messages = [{"role": "user", "content": prompt}]
        elif self.takes_system_prompt:
            messages = [{"role": "system", "content": self.system_prompt}, {"role": "user", "content": prompt}]
        else:
            messages = [{"role": "user", "content": f"{self.system_prompt}\n\n{prompt}"}]
        return self._render(messages)

    def _render(self, messages: list[dict[str, str]]) -> str:
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        assert isinstance(text, str)
        return text

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be asked.

    Attributes:
        name: stands in records and tables.
        folder: where its files lie.
        model: on the CPU until the trainer moves it; one with a device map or quantised weights stays where it is.
        encoder: prompts to ids and back.
        end_ids: ids that end an answer: end of text, end of turn.
        trusts_code: whether code in its folder may be run.
    """

    name: str
    folder: Path
    model: PreTrainedModel
    encoder: Encoder
    end_ids: tuple[int, ...]
    trusts_code: bool = False


def model_folder(settings: ModelSettings, cache: Path, seed: int) -> Path:
    """The folder of the model's files; the random model is made there first.

    Raises:
        UserError: not there, gated, or out of reach.
    """
    if settings.kind == "random":
        return make_random_model(cache / "models", seed)
    if settings.kind == "toy" and settings.path is None:
        return toy_world(None) / "model"
    return find_model(settings)


def model_fingerprint(settings: ModelSettings, folder: Path, cache: Path) -> str:
    """SHA-256 of everything that decides what the model answers: the files, and how its weights are quantised."""
    adapter = [Path(settings.adapter).expanduser()] if settings.adapter is not None else []
    files = fingerprint([folder, *adapter], cache / "fingerprints.jsonl")
    if settings.quantization is None:
        return files
    return hashlib.sha256(f"{files} {settings.quantization}".encode()).hexdigest()


def load_encoder(settings: ModelSettings, folder: Path) -> Encoder:
    """Loads the tokenizer and finds out what it puts in front of a text.

    Raises:
        UserError: no usable config or tokenizer, or model.chat_template=on without a template.
    """
    tokenizer = load_tokenizer(folder, settings.trust_remote_code)
    has_template = bool(tokenizer.chat_template)
    if settings.chat_template == "on" and not has_template:
        raise UserError(f"model.chat_template=on: the tokenizer in {folder} has no chat template. Use auto or off")
    encoder = Encoder(
        tokenizer=tokenizer,
        prefix=_prefix(tokenizer),
        uses_chat_template=has_template and settings.chat_template != "off",
        system_prompt=settings.system_prompt,
    )
    return _with_chat_bos(encoder, folder) if encoder.uses_chat_template else encoder


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a model folder.

    Args:
        folder: of the model.
        trust_remote_code: whether its code may be run.

    Raises:
        UserError: no usable config or tokenizer, or one that needs code that may not be run.
    """
    read_config(folder, trust_remote_code)  # a tokenizer's loading reads it too, and would be blamed for its faults
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # transformers raises whatever the file's content leads to
        if needs_code(error):
            raise UserError(code_line(folder)) from error
        raise UserError(f"{folder}: the tokenizer cannot be loaded ({first_line(error)})") from error
    return tokenizer


def _with_chat_bos(encoder: Encoder, folder: Path) -> Encoder:
    """The encoder with the BOS that only its chat template puts, if so.

    Raises:
        UserError: the template fails on an ordinary message.
    """
    try:
        text = encoder._chat("prompt")
    except Exception as error:  # templates are programs of their own, which raise what they like
        raise UserError(
            f"{folder}: the tokenizer's chat template fails ({first_line(error)}). Use model.chat_template=off"
        ) from error
    bos, bos_id = encoder.tokenizer.bos_token, encoder.tokenizer.bos_token_id
    if isinstance(bos, str) and text.startswith(bos) and bos_id not in encoder.prefix:
        return replace(encoder, prefix=(bos_id, *encoder.prefix))
    return encoder


def load_model(settings: ModelSettings, folder: Path) -> LoadedModel:
    """Loads weights and tokenizer.

    Raises:
        UserError: a damaged file, a config that transformers does not know or accept, too little memory, or a model
            that is no causal language model.
    """
    encoder = load_encoder(settings, folder)
    architectures = getattr(read_config(folder, settings.trust_remote_code), "architectures", None) or []
    if any(name.endswith("ForMaskedLM") for name in architectures):
        raise UserError(
            f"model={settings.name}: an encoder ({', '.join(architectures)}), which writes no answers. Fine-tune it "
            f"with train.py, or give a decoder, e.g. model=llama3"
        )
    if problems := adapter_problems(settings):
        raise UserError(*problems)
    weigh(settings, folder)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=settings.dtype,
            local_files_only=True,
            trust_remote_code=settings.trust_remote_code,
            use_safetensors=True,
            output_loading_info=True,
            **_placement(settings, folder),
        )
        model: PreTrainedModel
        model, told = loaded
        _refuse_missing(model, folder, told["missing_keys"])
        if settings.adapter is not None:
            model.load_adapter(str(Path(settings.adapter).expanduser()))
    except (SafetensorError, OSError, ValueError, RuntimeError, ImportError) as error:
        broken = broken_weights(folder)
        if broken is not None:
            raise UserError(f"{broken}: damaged or cut short. Download or copy it again") from error
        if needs_code(error):
            raise UserError(code_line(folder)) from error
        raise UserError(f"{folder}: the model cannot be loaded ({first_line(error)})") from error
    model.eval()
    if getattr(model, "hf_device_map", None) is not None or settings.quantization is not None:
        _hold_still(model)
    ends = _end_ids(model, encoder.tokenizer)
    return LoadedModel(settings.name, folder, model, encoder, ends, settings.trust_remote_code)


def _refuse_missing(model: PreTrainedModel, folder: Path, missing: Collection[str]) -> None:
    """Refuses files that lack weights, which transformers draws at random."""
    lacking = [name for name, _ in model.named_parameters() if name in missing]
    if lacking:
        raise UserError(
            f"{folder}: its files lack {len(lacking)} weights of the model, e.g. {lacking[0]}. Copy the model again"
        )


def _prefix(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """What the tokenizer puts in front; a BOS that stands twice, as some configs have it, is put once."""
    with_special: list[int] = tokenizer("a").input_ids
    plain: list[int] = tokenizer("a", add_special_tokens=False).input_ids
    for start in range(len(with_special) - len(plain) + 1):
        if with_special[start : start + len(plain)] == plain:
            prefix = with_special[:start]
            return tuple(token for index, token in enumerate(prefix) if index == 0 or token != prefix[index - 1])
    return ()


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    ends: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if value is not None:
            ends.update(value if isinstance(value, (list, tuple)) else [value])
    return tuple(sorted(ends))


def _placement(settings: ModelSettings, folder: Path) -> dict[str, Any]:
    """Where weights go and in how many bits, in the words of transformers."""
    placement: dict[str, Any] = {}
    if settings.device_map is not None:
        placement["device_map"] = settings.device_map
    if settings.quantization is not None:
        is_4bit = settings.quantization == "4bit"
        placement["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=not is_4bit,
            load_in_4bit=is_4bit,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=_dtype_name(settings, folder)[0],
        )
    return placement


def _hold_still(model: PreTrainedModel) -> None:
    """Makes a model deaf to being moved as a part of something else.

    A trainer moves what it is given to its own device, which would tear a model that lies on several ones, partly on
    disk, or in bits that know their device, from the hooks that fetch its weights.
    """
    object.__setattr__(model, "_apply", lambda fn, recurse=True: model)


def _dtype_name(settings: ModelSettings, folder: Path) -> tuple[str, str]:
    """The dtype that is computed in, and the one that the files hold."""
    config = read_config(folder, settings.trust_remote_code)
    stored = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    return stored if settings.dtype == "auto" else settings.dtype, stored


def weigh(settings: ModelSettings, folder: Path, copies: int = 1) -> None:
    """Refuses weights that do not fit into free memory, before any of them is read.

    Args:
        settings: of the model.
        folder: of its files.
        copies: of the weights; training keeps gradients and an optimiser's two moments beside them.

    Raises:
        UserError: they do not fit.
    """
    if settings.device_map is not None:
        return  # what fits nowhere else stays on disk
    on_disk = sum(path.stat().st_size for path in weight_files(folder))
    wanted, stored = _dtype_name(settings, folder)
    size = _BYTES.get(wanted, 4) if settings.quantization is None else _QUANTIZED_BYTES[settings.quantization]
    needed = copies * on_disk * size / _BYTES.get(stored, 4)
    free = _free_bytes()
    if needed > free:
        raise UserError(
            f"model={settings.name}: needs {needed / 2**30:.1f} GiB for its weights"
            f"{' and their training' if copies > 1 else ''} in {settings.quantization or wanted}, and "
            f"{free / 2**30:.1f} GiB are free. Use model.dtype=bfloat16, "
            f"model.quantization=8bit or 4bit, model.device_map=auto, a smaller model, or a larger machine"
        )


def _free_bytes() -> int:
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return int(free)
    return int(psutil.virtual_memory().available)


def broken_weights(folder: Path) -> Path | None:
    """The first file of weights that cannot be read; None: all can."""
    from safetensors import safe_open

    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except (SafetensorError, OSError):
            return path
    return None
