"""One training from loading to the last checkpoint, in SimpleTuner's order and with its log."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path

import numpy as np

from local.sandbox.trainer.config import TrainingConfig
from local.sandbox.trainer.console import Console
from local.sandbox.trainer.dataset import Backend, load
from local.sandbox.trainer.model import Adapter, Array, embed
from local.sandbox.trainer.order import Order
from local.sandbox.trainer.outputs import save_checkpoint, save_sample, save_weights
from local.sandbox.trainer.publish import Publisher
from local.sandbox.trainer.s3 import Connect

#: Loading the base model takes as long as this many steps.
LOADING_STEPS = 8


class OutOfMemoryError(RuntimeError):
    """Named like torch's, which it stands for."""


class Training:
    """``sleep`` and ``monotonic`` set the pace. All randomness comes from the config's seed, or else the order's."""

    def __init__(
        self,
        config: TrainingConfig,
        order: Order,
        *,
        connect: Connect,
        console: Console,
        sleep: Callable[[float], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._config = config
        self._order = order
        self._connect = connect
        self._console = console
        self._sleep = sleep
        self._monotonic = monotonic
        self._seed = order.seed if config.seed is None else config.seed

    def run(self, dataloader: object, work: Path, *, publish_final: bool = False) -> Adapter:
        """Trains and publishes below ``work``; returns the trained adapter. Raises what the trainer would."""
        try:
            return self._run(dataloader, work, publish_final=publish_final)
        except Exception as error:
            self._console.end_steps()
            self._console.say(f"[ERROR] Fatal Error: Failed to run training: {error}")
            self._console.say(f"[TRAINING] Training failed: {error}")
            raise

    def _run(self, dataloader: object, work: Path, *, publish_final: bool) -> Adapter:
        config, console = self._config, self._console
        withheld = self._order.faults.get("no_publish")
        publisher = Publisher(
            config.publishing,
            self._connect,
            console,
            withhold=str(withheld["files"]) if withheld else None,
            truncate="truncate" in self._order.faults,
        )
        console.stage("Loading base model", message=f"Load model: {config.model_family}")
        self._sleep(LOADING_STEPS * self._order.pace / 2)
        console.stage("Loading base model", "completed")
        backends = load(dataloader, config, self._connect, console)
        console.stage("Loading text embedding cache", "completed", percent=100)
        adapter = Adapter(config.model_family, rank=config.rank, alpha=config.alpha, seed=self._seed)
        console.stage("Preparing model components", message="Preparing model components")
        self._sleep(LOADING_STEPS * self._order.pace / 2)
        console.stage("Preparing model components", "completed", "Completed preparing model components")
        output = work / config.output_dir
        output.mkdir(parents=True, exist_ok=True)
        self._train(adapter, backends, output, publisher)
        console.stage("Saving Final Model", message=f"Finalizing model and saving to {config.output_dir}")
        save_weights(adapter, output)
        if publish_final:
            publisher.publish(output)
        console.stage("Saving Final Model", "completed", f"Model saved to {config.output_dir}")
        console.stage("Training Complete", "completed", "Training run complete.", percent=100)
        console.say("[TRAINING] Training complete")
        return adapter

    def _train(self, adapter: Adapter, backends: list[Backend], output: Path, publisher: Publisher) -> None:
        config, console = self._config, self._console
        batch = config.batch_size * config.accumulation
        per_epoch = max(1, sum(b.seen_per_epoch for b in backends) // batch)
        steps = config.max_steps or config.epochs * per_epoch
        epochs = config.epochs or ceil(steps / per_epoch)
        console.log("INFO", "***** Running training *****")
        console.log("INFO", f"-  Trainable parameters: {adapter.parameters}")
        console.log("INFO", f"-  Num batches = {per_epoch}  Num Epochs = {epochs}  Total optimization steps = {steps}")
        out_of_memory = self._order.strikes_at("oom", steps)
        overflow = self._order.strikes_at("nan", steps)
        batches = _Batches(backends, batch, self._seed)
        console.begin_steps(steps, epochs)
        began = self._monotonic()
        for step in range(1, steps + 1):
            epoch = min(epochs, (step - 1) // per_epoch + 1)
            if step == out_of_memory:
                self._run_out_of_memory(batch)
            if step == overflow:
                adapter.break_down()
            rate = config.rate * min(1.0, step / config.warmup_steps) if config.warmup_steps else config.rate
            loss = adapter.train(*batches.draw(), rate)
            self._keep_pace(began + step * self._order.pace)
            console.step(epoch, epochs, loss, rate)
            if not np.isfinite(loss) and not self._carries_on():
                raise RuntimeError(
                    f"Non-finite training loss detected (loss={loss}, data_backend_id={backends[0].id})."
                )
            paused = self._monotonic()
            self._save(adapter, output, publisher, step, epoch)
            began += self._monotonic() - paused  # the pace is of steps; saving comes on top
        console.end_steps()

    def _save(self, adapter: Adapter, output: Path, publisher: Publisher, step: int, epoch: int) -> None:
        """Checkpoint first, validation second, and publishing only after a validation: SimpleTuner's order."""
        config, console = self._config, self._console
        if config.checkpoint_every and step % config.checkpoint_every == 0:
            name = f"{config.output_dir}/checkpoint-{step}"
            console.stage("Saving Checkpoint", message=f"Saving checkpoint to {name}")
            save_checkpoint(adapter, config, output, step=step, epoch=epoch)
            console.stage("Saving Checkpoint", "completed", f"Saved checkpoint to {name}")
            console.say("[CHECKPOINT] Checkpoint saved")
        if config.prompt and config.validate_every and step % config.validate_every == 0:
            console.stage("Running Validation", message="Validation is starting.")
            for number, size in enumerate(config.validation_sides):
                save_sample(adapter, config.prompt, output, step=step, number=number, size=size)
            publisher.publish(output)
            console.stage("Running Validation", "completed", "Validation completed.")

    def _carries_on(self) -> bool:
        """Whether the fault plan asks for older trainers' way with a loss that is no number: they did not look."""
        return self._order.faults.get("nan", {}).get("then") == "continue"

    def _keep_pace(self, until: float) -> None:
        left = until - self._monotonic()
        if left > 0:
            self._sleep(left)

    def _run_out_of_memory(self, batch: int) -> None:
        """The fault plan's: a message as PyTorch writes it, with the traceback it comes with."""
        message = (
            f"CUDA out of memory. Tried to allocate {batch * 1.25:.2f} GiB. GPU 0 has a total capacity of 79.11 GiB of "
            "which 822.38 MiB is free. Process 1 has 78.29 GiB memory in use. Of the allocated memory 76.42 GiB is "
            "allocated by PyTorch, and 1.21 GiB is reserved by PyTorch but unallocated. If reserved but unallocated "
            "memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
        )
        self._console.end_steps()
        self._console.say(
            "Traceback (most recent call last):\n"
            '  File "simpletuner/helpers/training/trainer.py", line 7223, in train\n'
            "    self.accelerator.backward(loss)\n"
            '  File "torch/autograd/graph.py", line 829, in _engine_run_backward\n'
            f"torch.OutOfMemoryError: {message}"
        )
        raise OutOfMemoryError(message)


class _Batches:
    """Samples in a random order, each as often as its dataset's repeats say before any comes again."""

    def __init__(self, backends: list[Backend], size: int, seed: int) -> None:
        self._samples = [s for b in backends for s in b.samples]
        repeats = [b.repeats + 1 for b in backends for _ in b.samples]
        self._order = [i for i, times in enumerate(repeats) for _ in range(times)]
        self._texts = [[embed(caption) for caption in s.captions] for s in self._samples]
        self._size = size
        self._random = np.random.default_rng(seed)
        self._waiting: list[int] = []

    def draw(self) -> tuple[Array, Array]:
        chosen = []
        for _ in range(self._size):
            if not self._waiting:
                self._waiting = [self._order[i] for i in self._random.permutation(len(self._order))]
            chosen.append(self._waiting.pop())
        texts = [self._texts[i][int(self._random.integers(len(self._texts[i])))] for i in chosen]
        return np.stack(texts), np.stack([self._samples[i].latent for i in chosen])
