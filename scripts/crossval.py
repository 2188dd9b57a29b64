from softpoint.cli.crossval import run

run()
