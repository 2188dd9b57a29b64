from softpoint.cli.benchmark import run

run()
