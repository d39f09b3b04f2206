"""Label Studio: labelling configuration, encoder of tasks, decoder of exports."""

from reviews_parsing.data.labelstudio.config import build_labelling_config
from reviews_parsing.data.labelstudio.decoding import Task, decode, decode_tasks, is_export
from reviews_parsing.data.labelstudio.encoding import encode, encode_tasks, to_task

__all__ = ["Task", "build_labelling_config", "decode", "decode_tasks", "encode", "encode_tasks", "is_export", "to_task"]
