from softpoint.cli.curve import run

run()
