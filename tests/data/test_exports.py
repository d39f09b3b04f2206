from reviews_parsing import data


def test_the_room_exports_this_and_no_more() -> None:
    assert data.__all__ == [
        "CORPUS",
        "Added",
        "Finding",
        "Statistics",
        "add",
        "check",
        "digest",
        "read",
        "read_mapping",
        "read_splits",
        "split",
        "statistics",
        "write",
    ]
    assert all(hasattr(data, name) for name in data.__all__)
