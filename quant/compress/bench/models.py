"""Networks to compress: those of the zoo by name, and a user's own as ``path/to/file.py:function``."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..errors import CompressionError
from ..training import as_input
from . import zoo
from .data import Data

#: Peak learning rate of retraining a network that isn't of the zoo.
RETRAIN_RATE = 0.001


@dataclass(frozen=True, eq=False)
class Model:
    """A float network to compress.

    Members
    -------
    name, title
        For the command line, and for people.
    network
        In evaluation mode; not to be changed.
    retrain_rate
        Peak learning rate of retraining.
    """

    name: str
    title: str
    network: nn.Module
    retrain_rate: float = RETRAIN_RATE

    @property
    def fingerprint(self) -> str:
        """Tells other weights apart."""
        seen = hashlib.sha256()
        for name, value in self.network.state_dict().items():
            seen.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            seen.update(value.detach().cpu().contiguous().numpy().tobytes())
        return seen.hexdigest()[:12]


def load_model(text: str) -> Model:
    """A network by its name in the zoo, or what a function in a file returns.

    Parameters
    ----------
    text : str
        ``lenet5``, or ``path/to/file.py:function``; the function takes no arguments and returns a trained `nn.Module`.

    Raises
    ------
    CompressionError
        There is no such network, file or function, or the function fails or returns something else.
    """
    if text in zoo.ZOO:
        one = zoo.ZOO[text]
        return Model(text, one.title, zoo.trained(text), one.retrain_rate)
    file, colon, function = text.rpartition(":")
    if not colon or not file.endswith(".py"):
        hint = f"; for a file of your own, name the function in it that returns the network, {text}:function" if text.endswith(
            ".py") else ""
        raise CompressionError(f"there is no network '{text}': give one of {', '.join(zoo.ZOO)}, or path/to/file.py:function{hint}")
    path = Path(file)
    if not path.is_file():
        raise CompressionError(f"'{file}' does not exist: give path/to/file.py:function")
    made = _called(path, function)
    if not isinstance(made, nn.Module):
        raise CompressionError(f"{function} of '{file}' returns {type(made).__name__}, not a torch.nn.Module: return the trained "
                               "network itself")
    if not any(True for _ in made.parameters()):
        raise CompressionError(f"the network that {function} of '{file}' returns has no parameters: there is nothing to compress")
    return Model(f"{path.stem}:{function}", f"{path.stem}:{function}", made.eval())


def _called(path: Path, name: str) -> object:
    spec = importlib.util.spec_from_file_location(f"bitwright_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CompressionError(f"'{path}' can't be imported: give a Python file, path/to/file.py:function")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for a script, so that it finds its neighbours
    doing = "can't be imported"
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name, None)
        if function is None:
            offered = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")
                       and getattr(value, "__module__", "") == spec.name]
            raise CompressionError(f"'{path}' has no function '{name}'; it has {', '.join(offered) or 'none'}")
        if not callable(function):
            raise CompressionError(f"{name} of '{path}' is no function but {type(function).__name__}: name a function that returns "
                                   "the network")
        doing = f"fails in {name}()"
        torch.manual_seed(0)  # so that weights that it draws are the same when a comparison goes on
        made: object = function()
        return made
    except CompressionError:
        raise
    except Exception as error:  # whatever a user's file raises
        frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == str(path)]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
        reason = (str(error).splitlines() or [""])[0][:200]
        raise CompressionError(f"'{path}' {doing}{f', line {line}' if line else ''} ({type(error).__name__}: {reason}); mend the "
                               "file") from None
    finally:
        sys.path.remove(str(path.resolve().parent))


def check(model: Model, data: Data) -> None:
    """Refuse samples that don't go through a network, and networks that don't give a number for each class.

    Raises CompressionError.
    """
    images = torch.from_numpy(as_input(data.test_images[:2]))
    try:
        with torch.no_grad():
            logits = model.network(images)
    except Exception as error:  # whatever a user's forward function raises
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CompressionError(f"samples of '{data.name}', shape {tuple(images.shape[1:])}, do not go through {model.title} "
                               f"({reason}): give samples of the network's shape with --data FILE.npz") from None
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
        raise CompressionError(f"{model.title} gives {shape} for {len(images)} samples, not one row of logits for each: flatten "
                               "what it returns to (N, classes)")
    if logits.shape[1] < data.classes:
        raise CompressionError(f"{model.title} tells {logits.shape[1]} classes apart, but the labels of '{data.name}' go up to "
                               f"{data.classes - 1}: give samples of the network's classes")
    if not bool(torch.isfinite(logits).all()):
        raise CompressionError(f"{model.title} gives numbers that aren't finite: train it, or mend its weights first")
