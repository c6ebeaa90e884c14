"""Train, test and record a model; with no flag, a small CNN on MNIST.

python scripts/train.py
python scripts/train.py --help
"""

from engine.config.early import answered
from engine.start import run_command


def main(arguments: list[str]) -> None:
    if answered(arguments, "project"):  # --help, or a misspelt flag
        return
    import lightning.pytorch as pl

    import project.callbacks  # importing the project also hands its parts to the engine
    from engine.config import command_line
    from engine.training import runs

    asked = command_line.parse(arguments)  # flags override --config files, and these the resumed run
    if asked is None:  # --help, --print_config, or a run that is finished
        return
    data, task = runs.build(asked)  # classes of project/data and project/tasks
    with runs.opened(asked, data, task) as run:  # its folder, metrics.csv, Weights & Biases, signals, and a report
        trainer = pl.Trainer(
            **run.trainer_options,  # from the command line: --accelerator, --precision, --max_epochs, ...
            logger=run.loggers or False,
            plugins=run.plugins,
            callbacks=[*run.callbacks, *project.callbacks.own(asked.config)],
        )
        run.start(trainer)
        trainer.fit(task, datamodule=data, ckpt_path=run.resume_from, weights_only=True)
        if data.has_test:
            trainer.test(task, datamodule=data, ckpt_path=run.best, weights_only=True, verbose=False)


if __name__ == "__main__":
    run_command(main, of_several=True)
