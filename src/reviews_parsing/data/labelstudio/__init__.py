"""Label Studio: the labelling configuration, tasks out, annotated tasks in."""

from reviews_parsing.data.labelstudio.config import labelling_config
from reviews_parsing.data.labelstudio.decoding import Task, decode, looks_like, tasks
from reviews_parsing.data.labelstudio.encoding import encode, encode_tasks, task

__all__ = ["Task", "decode", "encode", "encode_tasks", "labelling_config", "looks_like", "task", "tasks"]
