import subprocess
import sys


def test_the_serving_worker_may_import_identity_and_the_light_kernel() -> None:
    script = (
        "import sys, boucle.identity.api, boucle.kernel.settings, boucle.kernel.paths, boucle.kernel.progress\n"
        "import boucle.kernel.ids, boucle.kernel.clock, boucle.kernel.digests, boucle.kernel.errors\n"
        "outside = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "outside -= {'typing_extensions', 'sitecustomize'}  # msgspec takes the first where it finds it\n"
        "print(sorted(name for name in outside if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['boucle', 'msgspec']"
