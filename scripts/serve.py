from softpoint.cli.serve import run

run()
