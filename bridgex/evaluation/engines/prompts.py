"""From requests to token ids: where an option begins, and what is cut where the model's input is too short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bridgex.errors import UserError
from bridgex.evaluation.dialogue import Choice, Question
from bridgex.extract.limits import longest_input
from bridgex.extract.loading import Encoder, LoadedModel

Boundary: TypeAlias = Literal["merged", "lm_eval"]

# Below so many characters between what fits and what does not, halving beats guessing by tokens a character.
_NEAR = 32


@dataclass(frozen=True)
class GivenPrompt:
    """A question as the model gets it.

    Attributes:
        text: the chat template applied, less the BOS.
        ids: token ids, the BOS among them.
        num_cut: characters cut from the end of the question's context.
    """

    text: str
    ids: tuple[int, ...]
    num_cut: int


@dataclass(frozen=True)
class OptionIds:
    """An option behind its prompt.

    Attributes:
        ids: token ids of both.
        start: where in them the option begins; at least 1.
        is_merged: whether the option's first token holds the end of the prompt, too.
    """

    ids: tuple[int, ...]
    start: int
    is_merged: bool


@dataclass(frozen=True)
class GivenChoice:
    """A choice as the model gets it.

    Attributes:
        text: what the options follow, the chat template applied, less the BOS.
        options: in the order asked.
        num_cut: characters cut from the end of the choice's context.
    """

    text: str
    options: tuple[OptionIds, ...]
    num_cut: int


class PromptReader:
    """Encodes requests.

    `merged` encodes prompt and option as one text and gives the option whatever token the two share. `lm_eval` is the
    convention of lm-evaluation-harness: white space at the prompt's end goes to the option, and of the two as one text
    the option's tokens are those beyond the number of tokens that the prompt alone has.

    Args:
        loaded: the model.
        boundary: where options begin.
        longest: tokens of prompt and answer at most; None: what the model's config says.
    """

    def __init__(self, loaded: LoadedModel, boundary: Boundary = "merged", longest: int | None = None) -> None:
        self._encoder, self._boundary = loaded.encoder, boundary
        self._longest = longest or longest_input(loaded)

    def question(self, question: Question) -> GivenPrompt:
        """The question's prompt, cut so that the longest answer fits behind it.

        Raises:
            UserError: it does not fit, and nothing more of it may be cut.
        """
        given = self._prompt(question.prompt, 0)
        if len(given.ids) + question.max_tokens <= self._longest:
            return given
        prompt, num_cut = self._cut(
            question.prompt,
            question.context,
            0,
            lambda prompt: len(self._prompt(prompt, 0).ids) + question.max_tokens,
            f"prompt and {question.max_tokens} tokens of answer",
        )
        return self._prompt(prompt, num_cut)

    def choice(self, choice: Choice) -> GivenChoice:
        """The choice's options behind its prompt, which is cut so that the longest of them fits.

        Raises:
            UserError: it does not fit and nothing more of it may be cut; or an option adds no token to the prompt.
        """
        assert choice.options, "a choice has options"
        assert all(option.strip() for option in choice.options), "no option is empty"
        text = self._encoder.text(choice.prompt)
        found = self._options(text, choice.options)
        num_cut = 0
        while max(len(option.ids) for option in found) > self._longest:
            # One option is enough to cut by, and the longest is almost always still the longest afterwards.
            longest = max(range(len(found)), key=lambda number: len(found[number].ids))
            prompt, num_cut = self._cut(
                choice.prompt, choice.context, num_cut, self._measure(choice.options[longest]), "prompt and option"
            )
            text = self._encoder.text(prompt)
            found = self._options(text, choice.options)
        return GivenChoice(text, found, num_cut)

    def _prompt(self, prompt: str, num_cut: int) -> GivenPrompt:
        text = self._encoder.text(prompt)
        return GivenPrompt(text, tuple(self._encoder.encode_given(text) or _nothing(self._encoder)), num_cut)

    def _measure(self, option: str) -> Callable[[str], int]:
        return lambda prompt: len(self._options(self._encoder.text(prompt), [option])[0].ids)

    def _options(self, text: str, options: Sequence[str]) -> tuple[OptionIds, ...]:
        bare = text.rstrip() if self._boundary == "lm_eval" else text
        prompt = self._encoder.encode_given(bare)
        if self._boundary == "lm_eval":
            return tuple(self._as_lm_eval(prompt, bare, text[len(bare) :] + option) for option in options)
        return tuple(self._as_merged(prompt, text, option) for option in options)

    def _as_merged(self, prompt: list[int], text: str, option: str) -> OptionIds:
        if self._encoder.uses_chat_template and text[-1:].isspace():
            option = option.lstrip()  # the template itself separates a prompt and its answer
        ids = self._encoder.encode_given(text + option)
        start = _num_common(prompt, ids)
        return self._checked(ids, start, start < len(prompt), option)

    def _as_lm_eval(self, prompt: list[int], text: str, option: str) -> OptionIds:
        whole = self._encoder.encode_given(text + option)
        is_merged = whole[: len(prompt)] != prompt
        return self._checked([*prompt, *whole[len(prompt) :]], len(prompt), is_merged, option)

    def _checked(self, ids: list[int], start: int, is_merged: bool, option: str) -> OptionIds:
        if len(ids) == start:
            raise UserError(
                f"the option {option!r} adds no token to its prompt, so it has no probability of its own"
                + (": use engine.boundary=merged" if is_merged else "")
            )
        if start == 0:  # the first token is predicted from something
            ids, start = [*_nothing(self._encoder), *ids], 1
        return OptionIds(tuple(ids), start, is_merged)

    def _cut(
        self,
        prompt: str,
        context: tuple[int, int] | None,
        num_cut: int,
        measure: Callable[[str], int],
        what: str,
    ) -> tuple[str, int]:
        """Cuts as few characters as the model's input asks for, from the end of the context.

        Args:
            prompt: the text before any chat template.
            context: of it, what may be cut.
            num_cut: characters whose cutting does not suffice.
            measure: tokens that a prompt takes with all that must go behind it.
            what: that which is measured, for the message.

        Returns:
            The prompt cut, and the number of characters.

        Raises:
            UserError: cutting all of the context does not suffice.
        """
        start, end = context if context is not None else (0, 0)

        def kept(length: int) -> str:
            return prompt[: start + length] + prompt[end:]

        most = end - start - num_cut
        least = measure(kept(0))
        if least > self._longest:
            raise UserError(
                f"{what}: {least} tokens{' without any context' if end > start else ''}, and the model reads "
                f"{self._longest} at most. Use fewer examples (task.shots), a shorter template or answer, or a model "
                f"that reads more"
            )
        length = _largest(lambda length: measure(kept(length)), self._longest, most, least, measure(kept(most)))
        return kept(length), end - start - length


def _largest(measure: Callable[[int], int], limit: int, most: int, least: int, total: int) -> int:
    """The largest number of characters whose tokens stay within the limit.

    Tokens grow almost evenly with characters, so that a few guesses suffice where halving would encode a long text many
    times.

    Args:
        measure: tokens of the prompt with so many characters of its context.
        limit: of tokens.
        most: characters, too many.
        least: tokens without any of them, few enough.
        total: tokens with all of them.

    Returns:
        A number that fits while the next one does not.
    """
    fits, exceeds = 0, most
    characters_a_token = most / (total - least)
    guess, margin = int((limit - least) * characters_a_token), _NEAR // 4
    while exceeds - fits > 1:
        if exceeds - fits <= _NEAR:
            guess = (fits + exceeds) // 2
        length = min(max(guess, fits + 1), exceeds - 1)
        over = measure(length) - limit
        step = int(over * characters_a_token)
        if over <= 0:
            fits, guess = length, length - step + margin
        else:
            exceeds, guess = length, length - step - margin
        margin *= 2
    return fits


def _num_common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the beginning that both have."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))


def _nothing(encoder: Encoder) -> list[int]:
    """What stands for an empty text with a tokenizer that puts no BOS: its BOS nevertheless, else its end of text."""
    tokenizer = encoder.tokenizer
    for value in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if isinstance(value, int):
            return [value]
    raise UserError("an empty prompt, and a tokenizer without a token that could stand for it. Give a prompt")
