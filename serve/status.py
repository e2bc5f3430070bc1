"""Our codes and gRPC's, in the one place where they meet."""

import grpc

from serve.errors import Code

TO_GRPC = {code: grpc.StatusCode[code.name] for code in Code}

FROM_GRPC = {status: code for code, status in TO_GRPC.items()}
