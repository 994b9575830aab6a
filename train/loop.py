"""The training loop."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from emca.errors import UserError
from segdata.datasets import open_dataset
from segdata.metrics import ConfusionMatrix
from train.checkpoint import Checkpoint, find_previous, load_weights, save_checkpoint
from train.config import Config
from train.data import Batch, PositionSampler, SampleStream, raising, training_loader
from train.distill import Distillation, load_teacher
from train.evaluate import evaluate
from train.initialise import fitting, initialise
from train.log import Meter, MetricsLog
from train.losses import build_loss
from train.models import build_model
from train.optimizer import (
    WeightAverage,
    build_optimizer,
    freeze_norm,
    learning_rate,
    set_learning_rate,
)
from train.precision import make_accelerator
from train.quantize import quantize
from train.ranges import OBSERVED_BATCHES, agree, follow, observe
from train.sources import load_source

log = logging.getLogger(__name__)

LOG_EVERY = 20


class Trainer:
    """One training run in `out`: `model.pth` (best so far), `last.pth` (to resume), metrics.

    Raises:
        UserError: data or weights that cannot be used, a folder that holds another run.
    """

    def __init__(self, config: Config, out: Path, *, resume: bool) -> None:
        self.config, self.out = config, out
        self.train_set = open_dataset(config.train_data)
        self.val_set = open_dataset(config.val_data)
        if self.train_set.taxonomy.classes != self.val_set.taxonomy.classes:
            raise UserError(
                f"train_data {config.train_data} and val_data {config.val_data} "
                "have different classes"
            )
        previous = find_previous(config, out, resume=resume)
        self.accelerator = make_accelerator(config.precision)
        if config.batch_size % self.accelerator.num_processes:
            raise UserError(
                f"batch_size={config.batch_size} does not divide into "
                f"{self.accelerator.num_processes} processes"
            )
        set_seed(config.seed)
        self.taxonomy = self.train_set.taxonomy
        self.origin = {"iterations": 0, "imported_from": ""}
        model = self._network(previous).to(memory_format=torch.channels_last)
        if self.accelerator.num_processes > 1 and self.accelerator.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        optimizer = build_optimizer(model, config)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.plain_model = self.accelerator.unwrap_model(self.model)
        self.loss = build_loss(config, num_classes=len(self.taxonomy.classes))
        self.loss.to(self.accelerator.device)
        self.distillation = self._distillation() if config.teacher else None
        self.average = (
            WeightAverage(self.plain_model, config.ema_decay) if config.ema_decay else None
        )
        self.start, self.best = 0, -1.0
        if previous:
            self._restore(previous)

    def _network(self, previous: Checkpoint | None) -> nn.Module:
        """Continued from `previous`, started from `init`, or new."""
        config = self.config
        if config.quantize and not config.init:
            raise UserError(
                f"quantize={config.quantize} fine-tunes a trained model; give it as init=CHECKPOINT"
            )
        weights = "" if previous else config.model.backbone_weights
        model = build_model(
            dataclasses.replace(config.model, backbone_weights=weights),
            num_classes=len(self.taxonomy.classes),
        )
        if previous:
            if config.quantize:
                quantize(model)
            load_weights(model, previous.model)
        elif config.init:
            source = load_source(config.init, tell=log.info)
            log.info(initialise(model, source.model, config.init))
            if len(fitting(model, source.model)) == len(model.state_dict()):
                self.origin = {name: getattr(source, name) for name in self.origin}
            if config.quantize:
                quantize(model)
        else:
            kind = f"pretrained ({weights})" if weights else "random"
            log.info("backbone %s: %s weights", config.model.backbone, kind)
        return model

    def _distillation(self) -> Distillation:
        teacher = load_teacher(self.config, self.taxonomy.classes)
        teacher = self.accelerator.prepare_model(teacher, evaluation_mode=True)
        return Distillation(teacher=teacher, config=self.config)

    def run(self) -> None:
        """Train to the end, evaluating and saving on the way.

        Raises:
            UserError: the loss is not finite; the checkpoints on disk stay as they were.
        """
        main = self.accelerator.is_main_process
        if self.config.quantize and not self.start:
            self._observe()
        if main and self.config.iterations == 0:
            self._save("model.pth", 0, training=False)
        with MetricsLog(self.out, start=self.start) if main else nullcontext() as metrics:
            self._train(metrics)
        self.accelerator.end_training()

    def _observe(self) -> None:
        """Find the ranges of INT8 on the first batches."""
        batches = self._batches(OBSERVED_BATCHES)
        observe(self.plain_model, batches, self.accelerator)
        if self.average:  # which began without them
            self.average = WeightAverage(self.plain_model, self.config.ema_decay)

    def _train(self, metrics: MetricsLog | None) -> None:
        config = self.config
        bar = tqdm(
            total=config.iterations,
            initial=self.start,
            desc="train",
            disable=None if metrics else True,
        )
        meter = Meter()
        batches = raising(self._batches(config.iterations))
        for step, batch in meter.timed(batches, start=self.start):
            meter.add(self._step(step, batch))
            done = step + 1
            last = done == config.iterations
            if metrics and (done % LOG_EVERY == 0 or last):
                values = meter.read()
                bar.set_postfix(loss=f"{values['loss']:.3f}", mIoU=f"{max(self.best, 0):.3f}")
                metrics.write(done, lr=learning_rate(config, step), **values)
            evaluated = last or bool(config.eval_every and done % config.eval_every == 0)
            if evaluated:
                self._evaluate(done, metrics)
            if metrics and (evaluated or done % config.save_every == 0):
                self._save("last.pth", done, training=True)
            bar.update()
        bar.close()

    def _batches(self, steps: int) -> DataLoader[Batch]:
        """Those from the step to start with up to a number of steps."""
        accelerator = self.accelerator
        sampler = PositionSampler(
            start=self.start,
            steps=steps,
            batch_size=self.config.batch_size,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )
        stream = SampleStream(self.train_set, self.config.augment, seed=self.config.seed)
        return training_loader(
            stream,
            sampler,
            workers=min(self.config.workers, os.cpu_count() or 1),
            pin_memory=accelerator.device.type == "cuda",
        )

    def _step(self, step: int, batch: Batch) -> dict[str, float]:
        """One optimizer step; the loss terms as numbers."""
        self.model.train()
        if self.config.freeze_norm:
            freeze_norm(self.plain_model)
        # What is random inside the network depends on the step alone, so that resuming is exact.
        place = step * self.accelerator.num_processes + self.accelerator.process_index
        torch.manual_seed(self.config.seed + place)
        device = self.accelerator.device
        set_learning_rate(self.optimizer, learning_rate(self.config, step))
        follow(self.plain_model, step / self.config.iterations)
        images = batch.images.to(device, non_blocking=True)
        predictions = self.model(images)
        terms = self.loss(predictions, batch.labels.to(device, non_blocking=True), batch.seeds)
        if self.distillation:
            terms |= self.distillation(predictions, images, batch.seeds)
        total = torch.stack(list(terms.values())).sum()
        values = {name: value.item() for name, value in terms.items()}
        values["loss"] = sum(values.values())
        self._require_finite("loss", values["loss"], step)
        self.accelerator.backward(total)
        norm = self.accelerator.clip_grad_norm_(
            self.model.parameters(), self.config.gradient_clip or math.inf
        )
        if not self.accelerator.scaler:  # which skips such steps by itself
            self._require_finite("gradient", float(norm), step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._require_finite("range of INT8", agree(self.plain_model, self.accelerator), step)
        if self.average:
            self.average.update(self.plain_model, step)
        return values

    def _require_finite(self, what: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        last = self.out / "last.pth"
        kept = f"the last good checkpoint is {last}" if last.exists() else "nothing was saved yet"
        raise UserError(
            f"the {what} is {value} at step {step}; stopped, {kept}; "
            "try a lower learning_rate or precision=fp32"
        )

    def _evaluate(self, done: int, metrics: MetricsLog | None) -> None:
        matrix = self._confusion()
        if not metrics:
            return
        metrics.write(done, miou=matrix.miou, pixel_accuracy=matrix.pixel_accuracy)
        log.info(
            "step %d: mIoU %.4f, pixel accuracy %.4f", done, matrix.miou, matrix.pixel_accuracy
        )
        if not matrix.miou < self.best:
            self.best = matrix.miou if math.isfinite(matrix.miou) else self.best
            self._save("model.pth", done, training=False)

    def _confusion(self) -> ConfusionMatrix:
        """Over all processes, with the averaged weights where there are any."""
        kept = None
        if self.average:
            kept = {key: value.clone() for key, value in self.plain_model.state_dict().items()}
            self.plain_model.load_state_dict(self.average.state)
        matrix = evaluate(
            self.plain_model,
            self.val_set,
            self.config.eval_size,
            workers=min(self.config.workers, os.cpu_count() or 1),
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        if kept:
            self.plain_model.load_state_dict(kept)
        counts = torch.from_numpy(matrix.matrix).to(self.accelerator.device)
        matrix.matrix[:] = self.accelerator.reduce(counts, reduction="sum").cpu().numpy()
        return matrix

    def _save(self, name: str, done: int, *, training: bool) -> None:
        weights = self.average.state if self.average and not training else None
        scaler = self.accelerator.scaler
        save_checkpoint(
            Checkpoint(
                config=self.config,
                classes=self.taxonomy.classes,
                palette=self.taxonomy.palette,
                **({"iterations": done} if self.config.iterations else self.origin),
                miou=self.best if self.best >= 0 else None,
                model=weights or self.plain_model.state_dict(),
                training={
                    "optimizer": self.optimizer.state_dict(),
                    "average": self.average.state if self.average else None,
                    "scaler": scaler.state_dict() if scaler else None,
                }
                if training
                else None,
            ),
            self.out / name,
        )

    def _restore(self, previous: Checkpoint) -> None:
        assert previous.training is not None  # see find_previous
        self.optimizer.load_state_dict(previous.training["optimizer"])
        if self.average:
            self.average.state = {
                key: value.to(self.accelerator.device)
                for key, value in previous.training["average"].items()
            }
        if self.accelerator.scaler and previous.training["scaler"]:
            self.accelerator.scaler.load_state_dict(previous.training["scaler"])
        self.start = previous.iterations
        self.best = previous.miou if previous.miou is not None else -1.0
        log.info("resuming at step %d of %d", self.start, self.config.iterations)
