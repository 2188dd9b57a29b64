"""A training by softpoint, with its own head, loss, callbacks and loading processes, heatmaps of stride 4."""

import sys

from steps import start

if __name__ == "__main__":
    settings = start("softpoint")
    sys.argv[1:] = [
        "train",
        "data=custom",
        f"data.labels={settings['labels']}/all.csv",
        f"data.images={settings['images']}",
        f"data.splits={settings['labels']}/splits.csv",
        f"data.size=[{settings['size']},{settings['size']}]",
        f"data.batch_size={settings['batch']}",
        f"data.num_workers={settings.get('workers', 'null')}",
        f"data.epoch_steps={settings['validate_steps']}",
        f"model={settings['model']}",
        f"backbone={settings['backbone']}",
        "augment=light",
        "epochs=100",
        "trainer.accelerator=cpu",
        f"trainer.precision={settings.get('precision', '32-true')}",
        f"hydra.run.dir={settings['run']}/softpoint",
    ]
    from softpoint.cli import main

    main()
