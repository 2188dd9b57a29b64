from softpoint.cli.evaluate import run

run()
