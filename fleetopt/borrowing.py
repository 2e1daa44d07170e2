"""Arrays to which no references are counted: counting took two thirds of the time of the simulator's event loop."""

from numba.core import cgutils
from numba.extending import intrinsic, overload


def borrowed(array):
    """Return the array; compiled, the copy of its descriptor owns nothing, so that no references to it are counted."""
    return array


@intrinsic
def _without_owner(typing_context, array):
    """Copy the descriptor of an array and leave out who owns its memory; the caller of the kernel does meanwhile."""

    def generate(context, builder, signature, args):
        view = context.make_array(signature.return_type)(context, builder, args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), generate


@overload(borrowed)
def _compile_borrowed(array):
    """Tell Numba what the function is when compiled."""

    def compiled(array):
        return _without_owner(array)

    return compiled
