from reviews_parsing import data


def test_public_names() -> None:
    assert data.__all__ == [
        "CORPUS_FOLDER",
        "Fields",
        "LabelFinding",
        "LabelWarning",
        "SplitStatistics",
        "TrainingExtension",
        "check",
        "check_dataset",
        "check_labelled",
        "check_offsets",
        "check_own_format",
        "compute_digest",
        "compute_statistics",
        "extend_training_split",
        "read",
        "read_mapping",
        "read_splits",
        "split",
        "write",
        "write_splits",
    ]
    assert all(hasattr(data, name) for name in data.__all__)
