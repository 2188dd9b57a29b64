from softpoint.cli.compare import run

run()
