package serving;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.undertow.Undertow;
import io.undertow.server.HttpHandler;
import io.undertow.server.HttpServerExchange;
import io.undertow.util.Headers;
import org.apache.flink.statefun.sdk.java.StatefulFunctions;
import org.apache.flink.statefun.sdk.java.TypeName;
import org.apache.flink.statefun.sdk.java.handler.RequestReplyHandler;
import org.apache.flink.statefun.sdk.java.slice.Slice;
import org.apache.flink.statefun.sdk.java.slice.Slices;
import org.apache.flink.statefun.sdk.java.types.SimpleType;
import org.apache.flink.statefun.sdk.java.types.Type;

/** Serves functions on the port in `PORT`, with the handler of the SDK's documentation. */
public final class Server {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** What the playground's egress takes. */
  public record EgressRecord(String topic, String payload) {}

  public static final TypeName EGRESS =
      TypeName.typeNameFromString("io.statefun.playground/egress");
  public static final Type<EgressRecord> EGRESS_RECORD =
      json("io.statefun.playground/EgressRecord", EgressRecord.class);

  public static <T> Type<T> json(String typename, Class<T> type) {
    return SimpleType.simpleImmutableTypeFrom(
        TypeName.typeNameFromString(typename),
        JSON::writeValueAsBytes,
        bytes -> JSON.readValue(bytes, type));
  }

  public static void serve(StatefulFunctions functions) {
    int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "1108"));
    Undertow.builder()
        .addHttpListener(port, "127.0.0.1")
        .setHandler(new Handler(functions.requestReplyHandler()))
        .build()
        .start();
  }

  /** A failure is told in a header named `Status`, and in nothing else. */
  private record Handler(RequestReplyHandler functions) implements HttpHandler {
    @Override
    public void handleRequest(HttpServerExchange exchange) {
      exchange.getRequestReceiver().receiveFullBytes(this::call);
    }

    private void call(HttpServerExchange exchange, byte[] body) {
      exchange.dispatch();
      functions
          .handle(Slices.wrap(body))
          .whenComplete((answer, failure) -> answer(exchange, answer, failure));
    }

    private static void answer(HttpServerExchange exchange, Slice answer, Throwable failure) {
      if (failure != null) {
        exchange.getResponseHeaders().put(Headers.STATUS, 500);
        exchange.endExchange();
        return;
      }
      exchange.getResponseHeaders().put(Headers.CONTENT_TYPE, "application/octet-stream");
      exchange.getResponseSender().send(answer.asReadOnlyByteBuffer());
    }
  }
}
