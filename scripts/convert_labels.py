from softpoint.cli.convert import run

run()
