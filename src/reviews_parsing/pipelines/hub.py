"""Checkpoints on a model hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from reviews_parsing.errors import TrackingError
from reviews_parsing.registry.runs import fetch_file


def push_to_hub(run_id: str, repository: str) -> str:
    """Upload the run's checkpoint and model card to `repository` (NAME or OWNER/NAME); returns its address.

    Raises TrackingError where the hub cannot be reached or does not let us in.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = fetch_file(run_id, "checkpoint", Path(folder))
        try:
            url = hub.create_repo(repository, exist_ok=True)
            hub.upload_folder(repo_id=url.repo_id, folder_path=checkpoint, commit_message=f"run {run_id}")
        except Exception as error:  # besides its own classes, those of whatever transport the client uses
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TrackingError(
                f"run {run_id} is logged, but the hub did not take {repository} ({reason}); "
                "log in with `hf auth login` or set HF_TOKEN"
            ) from error
    return str(url)
