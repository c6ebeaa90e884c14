"""Flags of Lightning's Trainer: name, type, default, help. Written by engine/config/trainer_options.py."""
# fmt: off

from typing import Any, Literal

FLAGS: list[tuple[str, Any, Any, str]] = [
    ('accelerator', str, 'auto', 'Supports passing different accelerator types ("cpu", "gpu", "tpu", "hpu", "mps", "auto") as well as custom accelerator instances'),
    ('strategy', str, 'auto', 'Supports different training strategies with aliases as well custom strategies'),
    ('devices', list[int] | str | int, 'auto', 'The devices to use'),
    ('num_nodes', int, 1, 'Number of GPU nodes for distributed training'),
    ('precision', Literal[64, 32, 16] | Literal['transformer-engine', 'transformer-engine-float16', '16-true', '16-mixed', 'bf16-true', 'bf16-mixed', '32-true', '64-true'] | Literal['64', '32', '16', 'bf16'] | None, None, "Double precision (64, '64' or '64-true'), full precision (32, '32' or '32-true'), 16bit mixed precision (16, '16', '16-mixed') or bfloat16 mixed precision ('bf16', 'bf16-mixed')"),
    ('fast_dev_run', int | bool, False, 'Runs n if set to n (int) else 1 if set to True batch(es) of train, val and test to find any bugs (ie: a sort of unit test)'),
    ('max_epochs', int | None, None, 'Stop training once this number of epochs is reached'),
    ('min_epochs', int | None, None, 'Force training for at least these many epochs'),
    ('max_steps', int, -1, 'Stop training after this number of steps'),
    ('min_steps', int | None, None, 'Force training for at least these number of steps'),
    ('max_time', str | dict[str, int] | None, None, 'Stop training after this amount of time has passed'),
    ('limit_train_batches', int | float | None, None, 'How much of training dataset to check (float = fraction, int = num_batches)'),
    ('limit_val_batches', int | float | None, None, 'How much of validation dataset to check (float = fraction, int = num_batches)'),
    ('limit_test_batches', int | float | None, None, 'How much of test dataset to check (float = fraction, int = num_batches)'),
    ('limit_predict_batches', int | float | None, None, 'How much of prediction dataset to check (float = fraction, int = num_batches)'),
    ('overfit_batches', int | float, 0.0, 'Overfit a fraction of training/validation data (float) or a set number of batches (int)'),
    ('val_check_interval', int | float | str | dict[str, int] | None, None, 'How often to check the validation set'),
    ('check_val_every_n_epoch', int | None, 1, 'Perform a validation loop after every `N` training epochs'),
    ('num_sanity_val_steps', int | None, None, 'Sanity check runs n validation batches before starting the training routine'),
    ('log_every_n_steps', int | None, None, 'How often to log within steps'),
    ('enable_progress_bar', bool | None, None, 'Whether to enable to progress bar by default'),
    ('enable_model_summary', bool | None, None, 'Whether to enable model summarization by default'),
    ('accumulate_grad_batches', int, 1, 'Accumulates gradients over k batches before stepping the optimizer'),
    ('gradient_clip_val', int | float | None, None, 'The value at which to clip gradients'),
    ('gradient_clip_algorithm', str | None, None, 'The gradient clipping algorithm to use'),
    ('deterministic', bool | Literal['warn'] | None, None, 'If True, sets whether PyTorch operations must use deterministic algorithms'),
    ('benchmark', bool | None, None, 'The value (True or False) to set torch.backends.cudnn.benchmark to'),
    ('profiler', str | None, None, 'To profile individual steps during training and assist in identifying bottlenecks'),
    ('detect_anomaly', bool, False, 'Enable anomaly detection for the autograd engine'),
    ('sync_batchnorm', bool, False, 'Synchronize batch norm layers between process groups/whole world'),
]
