"""Fits a straight line to points by gradient descent."""

import argparse
import csv
import json
import sys
from pathlib import Path


def train(data_file: Path, parameters_file: Path, model_dir: Path) -> None:
    """Read points and hyper-parameters, fit y = slope * x + offset, write the model and its metrics."""
    parameters = json.loads(parameters_file.read_text())
    with data_file.open(newline="") as file:
        points = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
    slope = offset = loss = 0.0
    for step in range(1, parameters["steps"] + 1):
        errors = [slope * x + offset - y for x, y in points]
        loss = sum(error * error for error in errors) / len(points)
        rate = 2 * parameters["learning_rate"] / len(points)
        slope -= rate * sum(error * point[0] for error, point in zip(errors, points, strict=True))
        offset -= rate * sum(errors)
        if step % (parameters["steps"] // 5) == 0:
            print(f"step {step:4d}  loss {loss:.6f}")
    model_dir.mkdir(parents=True, exist_ok=True)
    (model_dir / "model.json").write_text(json.dumps({"slope": slope, "offset": offset}) + "\n")
    (model_dir / "metrics.json").write_text(json.dumps({"loss": loss, "points": len(points)}) + "\n")
    print(f"y = {slope:.3f} x + {offset:.3f}, written to {model_dir / 'model.json'}")


def main() -> int:
    """A task's name comes first, then its parameters as --name=path."""
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    task = tasks.add_parser("train")
    task.add_argument("--data_file", type=Path, required=True)
    task.add_argument("--parameters_file", type=Path, required=True)
    task.add_argument("--model_dir", type=Path, required=True)
    arguments = parser.parse_args()
    train(arguments.data_file, arguments.parameters_file, arguments.model_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())
