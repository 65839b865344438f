"""Fetches data sets of the Hugging Face hub, file by file at one commit."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bridgex.data import copa
from bridgex.data.catalogue import HubSource
from bridgex.data.fetch.downloads import Download, client, download
from bridgex.data.fetch.job import HIDDEN, Fetched, Job, download_all, write_readme, write_whole
from bridgex.data.layout import SUFFIXES, configs_of, is_within
from bridgex.data.raw_rows import read_file, refusals
from bridgex.data.row_types import INFERENCE_LABELS
from bridgex.errors import UserError
from bridgex.languages import language

_PATIENCE_S = 10.0


def fetch_from_hub(job: Job) -> Fetched:
    """A data set's files as they are on the hub, less splits and languages that were not asked for.

    Raises:
        UserError: as `fetch`.
    """
    data = job.data
    splits = [split.name for split in data.splits if job.with_training or split.purpose != "fine-tuning"]
    sources = {code: data.source_of(code) for code in job.codes}
    if data.name == "xcopa" and "en" in sources:
        sources.setdefault(copa.ANSWERS_FROM, data.source)
    repositories: dict[str, _Repository] = {}
    plans: dict[tuple[str, str], list[Download]] = {}
    for code, source in sources.items():
        assert source is not None
        if source.hub_id not in repositories:
            repositories[source.hub_id] = _Repository(job, source)
        # What is read only to be converted is taken away afterwards.
        is_hidden = code in data.others or code not in job.codes
        for split in splits:
            plans[code, split] = repositories[source.hub_id].downloads(source, code, split, is_hidden)
    num_new = download_all(job, [item for items in plans.values() for item in items])
    configs: dict[str, dict[str, list[str]]] = {}
    for code in job.codes:
        for split in splits:
            paths = [item.path for item in plans[code, split]]
            if code in data.others:
                paths = [_converted(job, code, split, plans)]
            names = [path.relative_to(job.folder).as_posix() for path in paths]
            configs.setdefault(data.code_for(code) or code, {})[split] = names
    commits = [f"{hub_id} at commit {repository.commit}" for hub_id, repository in repositories.items()]
    write_readme(job, configs, commits)
    shutil.rmtree(job.folder / HIDDEN, ignore_errors=True)
    return Fetched(job.folder, sum(map(len, plans.values())), num_new, tuple(commits), job.codes)


class _Repository:
    """A data set's repository on the hub, at one commit."""

    def __init__(self, job: Job, source: HubSource) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        self._job, self._hub_id = job, source.hub_id
        with refusals(source.hub_id, "Run this command on a machine with network"):
            api = HfApi(endpoint=job.endpoint)
            found = api.dataset_info(source.hub_id, revision=source.revision, timeout=_PATIENCE_S)
            self.commit = found.sha or source.revision or "main"
            tree = api.list_repo_tree(source.hub_id, recursive=True, revision=self.commit, repo_type="dataset")
            # A server that names a file outside the folder would have it written there.
            self._files = {entry.path: entry for entry in tree if isinstance(entry, RepoFile) and is_within(entry.path)}
        self._configs = self._read_configs()

    def downloads(self, source: HubSource, code: str, split: str, is_hidden: bool) -> list[Download]:
        """The files of a language's split; hidden ones are converted, and then taken away."""
        config = source.config or self._job.data.code_for(code) or code
        patterns = self._configs.get(config, {}).get(split) or (f"data/{split}-*", f"{config}/{split}*")
        # On the hub `*` stops at no slash.
        names = [name for name in self._files if any(fnmatchcase(name, pattern) for pattern in patterns)]
        names = [name for name in names if name.endswith(SUFFIXES)]
        if not names:
            raise UserError(
                f"{self._hub_id}: has no {split} files of {language(code).english} ({config}) at commit "
                f"{self.commit[:12]}. Please report it"
            )
        folder = self._job.folder / HIDDEN / self._hub_id if is_hidden else self._job.folder
        return [self._download(name, folder / name) for name in sorted(names)]

    def _download(self, name: str, path: Path) -> Download:
        from huggingface_hub import get_token, hf_hub_url

        entry, token = self._files[name], get_token()
        return Download(
            url=hf_hub_url(self._hub_id, name, repo_type="dataset", revision=self.commit, endpoint=self._job.endpoint),
            path=path,
            size=entry.size,
            digest=f"sha256:{entry.lfs.sha256}" if entry.lfs is not None else f"git:{entry.blob_id}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            licence_page=f"https://huggingface.co/datasets/{self._hub_id}",
        )

    def _read_configs(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        if "README.md" not in self._files:
            return {}
        path = self._job.folder / HIDDEN / self._hub_id / "README.md"
        with client() as connection:
            download(connection, self._download("README.md", path), lambda count: None, self._job.wait)
        text = path.read_text(encoding="utf-8", errors="replace")
        path.unlink()
        return configs_of(text, f"{self._hub_id} README.md")


def _converted(job: Job, code: str, split: str, plans: Mapping[tuple[str, str], list[Download]]) -> Path:
    """A language from another repository, in the columns of the data set's own."""
    import pyarrow
    import pyarrow.parquet

    rows: list[Mapping[str, Any]] = _rows(plans[code, split])
    source = job.data.others[code]
    if job.data.name == "xcopa":
        answers = _rows(plans[copa.ANSWERS_FROM, split])
        rows = list(copa.with_answers(rows, answers, f"{source.hub_id} {split}"))
    cells: list[dict[str, Any]] = []
    for row in rows:
        named = {source.columns.get(name, name): value for name, value in row.items()}
        found = {name: named[name] for name in job.data.columns if name in named}
        if found.get("label") in INFERENCE_LABELS:
            found["label"] = INFERENCE_LABELS.index(found["label"])
        cells.append(found)
    # `datasets` takes all files of a folder for one kind, and the data set's own are parquet files.
    path = job.folder / (job.data.code_for(code) or code) / f"{split}.parquet"
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), buffer)
    write_whole(path, buffer.getvalue())
    return path


def _rows(items: Sequence[Download]) -> list[Mapping[str, Any]]:
    return [row for item in items for row in read_file(item.path)]
