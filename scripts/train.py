from softpoint.cli.train import run

run()
