"""Training a causal language model on a text of one's own, with the gradients of this library."""

from companion.training.adamw import AdamWState, adamw, clip_gradients, is_decayed
from companion.training.checkpoint import load_training, save_training
from companion.training.initial import initial_language_model
from companion.training.loop import train
from companion.training.model_folder import save_language_model
from companion.training.plan import TrainingPlan
from companion.training.schedule import warmup_cosine
from companion.training.state import CurvePoint, TrainingState, begin_training
from companion.training.step import accumulated_gradients, text_loss
from companion.training.text import TextBatch, TrainingText, pack_documents, split_text, text_batch
from companion.training.vocabulary import train_tokenizer

__all__ = [
    "AdamWState",
    "CurvePoint",
    "TextBatch",
    "TrainingPlan",
    "TrainingState",
    "TrainingText",
    "accumulated_gradients",
    "adamw",
    "begin_training",
    "clip_gradients",
    "initial_language_model",
    "is_decayed",
    "load_training",
    "pack_documents",
    "save_language_model",
    "save_training",
    "split_text",
    "text_batch",
    "text_loss",
    "train",
    "train_tokenizer",
    "warmup_cosine",
]
